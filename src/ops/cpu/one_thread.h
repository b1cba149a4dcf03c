// oneDNN in Debian starts an OpenMP team of its own; here each of our threads runs it alone on one slice.
#pragma once

namespace quern {

/// From now on oneDNN uses no other thread when it is called from this one. Cheap after the first call of a thread.
void run_onednn_on_this_thread_only();

}  // namespace quern

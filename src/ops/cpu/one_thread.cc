#include "ops/cpu/one_thread.h"

#include <dlfcn.h>

namespace quern {

void run_onednn_on_this_thread_only() {
  // Found at run time, because which OpenMP library oneDNN brings is the distribution's choice.
  using SetThreads = void (*)(int);
  static const auto set_threads = reinterpret_cast<SetThreads>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  thread_local bool done = false;
  if (!done && set_threads != nullptr) set_threads(1);
  done = true;
}

}  // namespace quern

// without_exceptions: here the libraries that compute enter (oneDNN, a device's, the allocator); what they throw goes
// no further. Any thread.
#pragma once

#include <exception>
#include <new>
#include <string>
#include <string_view>

#include "base/excerpt.h"
#include "base/result.h"

namespace quern {

/// Even telling what went wrong may fail for want of memory.
inline Error model_failed(std::string_view what) noexcept {
  try {
    return internal_error("the model failed: " + excerpt(what));
  } catch (const std::exception&) {
    return Error{};
  }
}

/// What `work` returns, a Result; or, of what it throws, a kInternal Error.
template <typename Work>
auto without_exceptions(const Work& work) noexcept -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return internal_error("out of memory");  // short enough to need none
  } catch (const std::exception& error) {
    return model_failed(error.what());
  } catch (...) {
    return model_failed("an exception of unknown type");
  }
}

}  // namespace quern

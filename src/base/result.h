// Result<T>: an expected failure is a value. Bugs are QUERN_CHECKs (base/check.h); third-party exceptions are caught at
// the edge.
//
// Owns nothing beyond its value. Any thread.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "base/check.h"

namespace quern {

/// Why something failed. Each code maps to one HTTP status in api/errors.cc and to one exit code in cli/.
enum class ErrorCode {
  kInvalidArgument,   // 400: the caller must change the input
  kUnauthenticated,   // 401
  kNotFound,          // 404
  kMethodNotAllowed,  // 405
  kPayloadTooLarge,   // 413
  kOverloaded,        // 429: try again after Error::retry_after_s
  kCancelled,         // 499-like: the client went away; only logged
  kInternal,          // 500
  kUnavailable,       // 503: not ready yet, or draining
  kDeadlineExceeded,  // 504
};

/// A failure told to a person: what was wrong, where, and what is allowed.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
  /// The request field or the flag at fault ("input[3]", "--dtype"); empty when there is none.
  std::string param;
  /// Seconds after which a retry makes sense; only with kOverloaded and kUnavailable.
  int retry_after_s = 0;
};

inline Error invalid_argument(std::string message, std::string param = "") {
  return Error{ErrorCode::kInvalidArgument, std::move(message), std::move(param), 0};
}
inline Error internal_error(std::string message) { return Error{ErrorCode::kInternal, std::move(message), "", 0}; }

/// Either a T or an Error. value() and error() CHECK that the right one is there.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit by design
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit by design

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & {
    QUERN_CHECK(ok(), "value() of a failed Result");
    return std::get<0>(state_);
  }
  const T& value() const& {
    QUERN_CHECK(ok(), "value() of a failed Result");
    return std::get<0>(state_);
  }
  T&& value() && {
    QUERN_CHECK(ok(), "value() of a failed Result");
    return std::get<0>(std::move(state_));
  }
  const Error& error() const {
    QUERN_CHECK(!ok(), "error() of a successful Result");
    return std::get<1>(state_);
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, Error> state_;
};

/// Success, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: implicit by design

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const {
    QUERN_CHECK(!ok(), "error() of a successful Result");
    return *error_;
  }

 private:
  std::optional<Error> error_;
};

}  // namespace quern

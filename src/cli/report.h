// Errors as a command tells them to a person.
#pragma once

#include <string>

#include "app/options.h"
#include "base/result.h"

namespace quern {

/// "--flag: message" for people.
std::string describe(const Error& error);

/// The same, behind the place where the flag was said: "quern.toml:3: --flag: message".
std::string describe(const Error& error, const FlagOrigins& origins);

/// Prints the error for `quern COMMAND` and gives the exit code: 2 when the call or the model folder is at fault,
/// else 1.
int report_error(const char* command, const Error& error, const FlagOrigins& origins);

}  // namespace quern

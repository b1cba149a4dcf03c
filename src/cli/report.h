// Errors as a command tells them to a person.
#pragma once

#include <string>

#include "base/result.h"

namespace quern {

/// "--flag: message" for people.
std::string describe(const Error& error);

/// Prints the error for `quern COMMAND` and gives the exit code: 2 when the call or the model folder is at fault,
/// else 1.
int report_error(const char* command, const Error& error);

}  // namespace quern

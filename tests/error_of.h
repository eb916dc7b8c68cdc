// What an action that should fail says.
#pragma once

#include <string>

#include "base/error.h"

namespace lowbit {

/// The message of the Error that `act` throws; empty if it throws none.
template <typename Act>
std::string error_of(const Act& act) {
  try {
    act();
  } catch (const Error& e) {
    return e.what();
  }
  return {};
}

}  // namespace lowbit

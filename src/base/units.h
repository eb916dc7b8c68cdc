// Numbers for people.
#pragma once

#include <cstdint>
#include <string>

namespace lowbit {

/// "83.4 MiB"
std::string human_bytes(uint64_t bytes);

}  // namespace lowbit

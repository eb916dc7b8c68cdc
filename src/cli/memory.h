// How much memory a command may take.
#pragma once

#include <cstdint>
#include <string>

namespace lowbit {

/// "95MiB", "7.5 GiB", "4GB" or plain bytes. Throws Error, naming `option`.
uint64_t parse_size(const std::string& text, const char* option);

/// Memory that this process may take beyond what it holds without harm to others: of the machine, or of its control
/// group, as they are now.
uint64_t available_memory_bytes();

/// Throws Error if `what` needs more than --max-ram (empty: no limit) allows.
void check_memory(const std::string& max_ram, uint64_t needed, const std::string& what);

}  // namespace lowbit

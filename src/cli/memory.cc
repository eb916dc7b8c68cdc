#include "cli/memory.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <map>

#include "base/error.h"
#include "cli/command.h"

namespace lowbit {
namespace {

/// The number behind a key of a file of lines "KEY NUMBER", or `otherwise`.
uint64_t number_in(const char* file, const std::string& key, uint64_t otherwise) {
  std::ifstream in(file);
  for (std::string name; in >> name; in.ignore(1000, '\n')) {
    uint64_t value = 0;
    if (name == key && in >> value) return value;
  }
  return otherwise;
}

}  // namespace

uint64_t available_memory_bytes() {
  constexpr uint64_t kNoLimit = UINT64_MAX;
  const uint64_t machine = number_in("/proc/meminfo", "MemAvailable:", kNoLimit >> 10) << 10;
  uint64_t limit = kNoLimit;
  if (!(std::ifstream("/sys/fs/cgroup/memory.max") >> limit)) return machine;  // "max", or no such file
  const uint64_t used = number_in("/sys/fs/cgroup/memory.stat", "anon", 0);
  return std::min(machine, limit - std::min(limit, used));
}

uint64_t parse_size(const std::string& text, const char* option) {
  static const std::map<std::string, double, std::less<>> units = {
      {"", 1},       {"b", 1},      {"kb", 1e3},     {"mb", 1e6},     {"gb", 1e9},     {"tb", 1e12},   {"k", 0x1p10},
      {"m", 0x1p20}, {"g", 0x1p30}, {"kib", 0x1p10}, {"mib", 0x1p20}, {"gib", 0x1p30}, {"tib", 0x1p40}};
  size_t used = 0;
  double value = 0;
  try {
    value = std::stod(text, &used);
  } catch (const std::logic_error&) {
  }
  std::string unit = text.substr(used);
  std::erase(unit, ' ');
  const auto found = units.find(CLI::detail::to_lower(unit));
  if (used == 0 || found == units.end() || !(value > 0) || value * found->second > 0x1p62) {
    fail("{} {}: should be a size such as 95MiB, 7.5GiB or 4000000000", option, text);
  }
  return static_cast<uint64_t>(value * found->second);
}

void check_memory(const std::string& max_ram, uint64_t needed, const std::string& what) {
  if (max_ram.empty() || needed <= parse_size(max_ram, "--max-ram")) return;
  fail("--max-ram {}: {} needs at least {}", max_ram, what, human_bytes(needed));
}

}  // namespace lowbit

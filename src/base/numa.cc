#include "base/numa.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string>
#include <thread>

namespace lowbit {
namespace {

/// The first line of a small file; empty if there is none.
std::string line_of(const std::filesystem::path& file) {
  std::string line;
  std::getline(std::ifstream(file), line);
  return line;
}

}  // namespace

std::vector<int> parse_processors(std::string_view list) {
  constexpr int kMost = CPU_SETSIZE;
  std::vector<int> out;
  const char* at = list.data();
  const char* const end = at + list.size();
  const auto number = [&](int& value) {
    const auto [after, error] = std::from_chars(at, end, value);
    at = after;
    return error == std::errc() && value >= 0 && value < kMost;
  };
  int first = 0;
  while (number(first)) {
    int last = first;
    if (at != end && *at == '-' && (++at, !number(last))) break;
    for (int i = first; i <= last; ++i) out.push_back(i);
    if (at == end || *at != ',') break;
    ++at;
  }
  return out;
}

NumaNodes numa_nodes(const std::filesystem::path& folder) {
  const std::vector<int>& ours = available_processors();
  NumaNodes out;
  for (const int node : parse_processors(line_of(folder / "online"))) {
    std::vector<int> usable;
    for (const int processor : parse_processors(line_of(folder / ("node" + std::to_string(node)) / "cpulist"))) {
      if (std::ranges::binary_search(ours, processor)) usable.push_back(processor);
    }
    if (!usable.empty()) out.push_back(std::move(usable));
  }
  return out;
}

std::vector<int> nodes_of_workers(const NumaNodes& nodes, int threads) {
  std::vector<int> node_of_processor;
  for (size_t node = 0; node < nodes.size(); ++node) {
    node_of_processor.insert(node_of_processor.end(), nodes[node].size(), static_cast<int>(node));
  }
  std::vector<int> out;
  if (nodes.size() < 2) return out;
  for (int worker = 0; worker < threads; ++worker) {
    out.push_back(
        node_of_processor[node_of_processor.size() * static_cast<size_t>(worker) / static_cast<size_t>(threads)]);
  }
  return out;
}

const std::vector<int>& available_processors() {
  static const std::vector<int> processors = [] {
    std::vector<int> out;
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
      for (int i = 0; i < CPU_SETSIZE; ++i) {
        if (CPU_ISSET(i, &set)) out.push_back(i);
      }
    } else {  // more processors than a cpu_set_t holds
      for (unsigned i = 0; i < std::max(1u, std::thread::hardware_concurrency()); ++i)
        out.push_back(static_cast<int>(i));
    }
    return out;
  }();
  return processors;
}

void bind_thread(const std::vector<int>& processors) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int processor : processors) CPU_SET(processor, &set);
  sched_setaffinity(0, sizeof set, &set);
}

}  // namespace lowbit

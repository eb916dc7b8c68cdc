// Where memory is near: the nodes of a machine with several memory controllers (NUMA).
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

namespace lowbit {

/// The processors of each node, ascending.
using NumaNodes = std::vector<std::vector<int>>;

/// The nodes that have processors which this process may use, with those. Empty if the system tells of no nodes.
/// `folder` is where Linux tells of them (Documentation/ABI/stable/sysfs-devices-node).
NumaNodes numa_nodes(const std::filesystem::path& folder = "/sys/devices/system/node");

/// "0-3,8,10-11" as Linux lists processors. What is malformed ends the list.
std::vector<int> parse_processors(std::string_view list);

/// The node of each of `threads` workers: neighbours together, and as many on each node as it has processors, in
/// proportion. Empty with fewer than two nodes: then it does not matter.
std::vector<int> nodes_of_workers(const NumaNodes& nodes, int threads);

/// The processors that this process could use when it was started: its affinity mask, not the machine's total.
const std::vector<int>& available_processors();

/// The calling thread runs on these processors from now on. What the system refuses is left as it was: a thread that is
/// not near its memory is slower, and no worse.
void bind_thread(const std::vector<int>& processors);

}  // namespace lowbit

// Which of several encodings each tensor gets, so that a total stays within a limit: a multiple-choice knapsack.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace lowbit {

/// One way to store a tensor.
struct Choice {
  uint64_t bytes = 0;
  double loss = 0;  ///< what it is predicted to cost the model; losses of tensors add up
};

struct Allocation {
  std::vector<size_t> chosen;  ///< for each tensor, the index of its choice
  uint64_t bytes = 0;
  double loss = 0;
};

/// The least loss in at most `limit` bytes, and the fewest bytes at a loss of at most `limit`; none if not even the
/// smallest (or the most faithful) choices keep the limit. `tensors` holds the choices of each, one or more.
///
/// Greedy along the lower convex hulls of the tensors' choices (the Lagrangian's optimum: Shoham and Gersho 1988), then
/// any one or two tensors change to any of their choices as long as that is better. The result is no further from the
/// optimum than what one tensor can change; equal inputs give equal results.
std::optional<Allocation> least_loss(std::span<const std::vector<Choice>> tensors, uint64_t limit);
std::optional<Allocation> fewest_bytes(std::span<const std::vector<Choice>> tensors, double limit);

}  // namespace lowbit

// Sums of products of inputs within groups of columns: what AWQ's search for clipped ranges compares outputs by.
#pragma once

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "quantize/search/group.h"

namespace lowbit {

class GroupGramSums {
 public:
  /// For inputs of `cols` channels, in groups of `group`, of which the last may be shorter. 0: nothing is gathered.
  GroupGramSums(int64_t cols, int64_t group);

  bool empty() const { return group_ == 0; }
  /// x [tokens, cols]. The same sums for any number of threads.
  void add(const float* x, int64_t tokens, ThreadPool& pool);
  /// Divided by the number of tokens. Nothing is left behind.
  GroupGrams take_mean();

 private:
  int64_t cols_, group_, tokens_ = 0;
  std::vector<float> sums_;  // as GroupGrams::values
};

}  // namespace lowbit

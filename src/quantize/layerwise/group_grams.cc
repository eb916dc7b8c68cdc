#include "quantize/layerwise/group_grams.h"

#include <algorithm>

#include "kernel/groups.h"

namespace lowbit {

GroupGramSums::GroupGramSums(int64_t cols, int64_t group) : cols_(cols), group_(std::min(group, cols)) {
  if (group_ == 0) return;
  const int64_t last = cols_ % group_;
  sums_.resize(static_cast<size_t>(cols_ / group_ * group_ * group_ + last * last));
}

void GroupGramSums::add(const float* x, int64_t tokens, ThreadPool& pool) {
  tokens_ += tokens;
  pool.run((cols_ + group_ - 1) / group_, [&](int64_t g, int) {
    const int64_t begin = g * group_, count = std::min(group_, cols_ - begin);
    // Of one slice first: a sum over all tokens in binary32 would lose the small ones.
    std::vector<float> slice(static_cast<size_t>(count * count));
    group_kernels().add_gram(x + begin, tokens, cols_, count, slice.data());
    float* to = sums_.data() + begin * group_;
    for (size_t i = 0; i < slice.size(); ++i) to[i] += slice[i];
  });
}

GroupGrams GroupGramSums::take_mean() {
  for (float& sum : sums_) sum /= static_cast<float>(std::max<int64_t>(1, tokens_));
  for (int64_t begin = 0; begin < cols_ && group_ > 0; begin += group_) {
    const int64_t count = std::min(group_, cols_ - begin);
    float* of_group = sums_.data() + begin * group_;
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t j = 0; j < i; ++j) of_group[j * count + i] = of_group[i * count + j];
    }
  }
  return {group_, std::move(sums_)};
}

}  // namespace lowbit

#include "quantize/search/search.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "quantize/search/refine.h"

namespace lowbit {
namespace {

struct Candidates {
  std::vector<float> targets;      // scale only
  std::vector<float> lows, highs;  // scale and minimum
};

// Candidates map the extreme weight of a sub-block to a place from one level inside the grid to one level beyond it:
// the best scale lies there for any shape of weights worth the name, and least squares finds it from the nearest
// candidate.
constexpr int kStepsALevel = 3;
// With a minimum, the smallest weight is also tried a little below the lowest level.
constexpr int kLows = 2;
constexpr float kLowStep = 0.4F;
// Of least squares and rounding, alternating. More of them, and more candidates, lose no less (measured).
constexpr int kRounds = 1;

Candidates make_candidates(const Encoding& encoding) {
  Candidates out;
  const auto low = static_cast<float>(encoding.levels.front()), high = static_cast<float>(encoding.levels.back());
  const bool table = high - low != static_cast<float>(encoding.levels.size() - 1);
  const float unit = (table ? (high - low) / 15 : 1.0F);
  for (int step = -kStepsALevel; step <= kStepsALevel; ++step) {
    const float t = unit * static_cast<float>(step) / kStepsALevel;
    if (encoding.has_min) {
      for (int j = 0; j < kLows; ++j) {
        out.lows.push_back(low - kLowStep * static_cast<float>(j));
        out.highs.push_back(high + t);
      }
    } else {
      out.targets.push_back(low - t);
      out.targets.push_back(high + t);
    }
  }
  return out;
}

const Candidates& candidates_of(const Encoding& encoding) {
  static const std::vector<Candidates> all = [] {
    std::vector<Candidates> out;
    for (const Encoding& e : encodings()) {
      out.push_back(e.kind == EncodingKind::Block && !e.run_only ? make_candidates(e) : Candidates{});
    }
    return out;
  }();
  return all[static_cast<size_t>(encoding.id)];
}

}  // namespace

void search_headers(const BlockBatch& batch, BlockHeader* out) {
  const Encoding& encoding = *batch.encoding;
  const Candidates& candidates = candidates_of(encoding);
  const bool shared = encoding.sub_blocks() > 1;
  LaneGrid wanted;
  if (encoding.has_min) {
    // Shared minima are never negative; a block's own may be any binary16.
    const AffineCandidates affine{candidates.lows.data(), candidates.highs.data(),
                                  static_cast<int>(candidates.lows.size()), kRounds, shared};
    search_kernels().search_affine(batch.lanes, batch.levels, affine, wanted);
  } else {
    const ScaleCandidates scale{candidates.targets.data(), static_cast<int>(candidates.targets.size()), kRounds};
    search_kernels().search_scale(batch.lanes, batch.levels, scale, wanted);
  }
  if (shared) return choose_headers(batch, wanted, out);
  for (int b = 0; b < batch.count; ++b) {
    BlockWish wish;
    wish.scale[0] = wanted.scale.lane[b] / batch.factor_of(b);
    wish.min[0] = wanted.min.lane[b] / batch.factor_of(b);
    out[b] = encoding.snap(wish);
  }
}

}  // namespace lowbit

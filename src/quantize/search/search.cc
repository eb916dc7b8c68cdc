#include "quantize/search/search.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace lowbit {
namespace {

struct Candidates {
  std::vector<float> targets;      // scale only
  std::vector<float> lows, highs;  // scale and minimum
};

/// Where the weight of greatest magnitude may land: about the outermost level of its side, with either sign of scale.
Candidates make_candidates(const Encoding& encoding) {
  constexpr int kSteps = 10;
  Candidates out;
  const auto low = static_cast<float>(encoding.levels.front()), high = static_cast<float>(encoding.levels.back());
  const bool table = high - low != static_cast<float>(encoding.levels.size() - 1);
  const float step = table ? (high - low) / 240 : 0.1F;
  for (int i = -kSteps; i <= kSteps; ++i) {
    if (encoding.has_min) {
      for (int j = 0; j < 3; ++j) {
        out.lows.push_back(low - 0.25F * static_cast<float>(j));
        out.highs.push_back(high + step * static_cast<float>(i));
      }
    } else {
      out.targets.push_back(low + step * static_cast<float>(i));
      out.targets.push_back(high + step * static_cast<float>(i));
    }
  }
  return out;
}

const Candidates& candidates_of(const Encoding& encoding) {
  static const std::vector<Candidates> all = [] {
    std::vector<Candidates> out;
    for (const Encoding& e : encodings()) {
      out.push_back(e.kind == EncodingKind::Block ? make_candidates(e) : Candidates{});
    }
    return out;
  }();
  return all[static_cast<size_t>(encoding.id)];
}

constexpr int kRounds = 2;

}  // namespace

void search_headers(const BlockBatch& batch, BlockHeader* out) {
  const Encoding& encoding = *batch.encoding;
  const Candidates& candidates = candidates_of(encoding);
  std::array<float, 16> table;
  const LevelSet levels = level_set(encoding, table);
  LaneGrid wanted;
  if (encoding.has_min) {
    const bool min_positive = encoding.sub_blocks() > 1;  // the types of one sub-block store any binary16
    search_kernels().search_affine(batch.lanes, levels,
                                   {candidates.lows.data(), candidates.highs.data(),
                                    static_cast<int>(candidates.lows.size()), kRounds, min_positive},
                                   wanted);
  } else {
    search_kernels().search_scale(
        batch.lanes, levels, {candidates.targets.data(), static_cast<int>(candidates.targets.size()), kRounds}, wanted);
  }
  for (int b = 0; b < batch.count; ++b) {
    BlockWish wish;
    for (int s = 0; s < encoding.sub_blocks(); ++s) {
      const int lane = b * encoding.sub_blocks() + s;
      const auto at = static_cast<size_t>(s);
      wish.scale[at] = wanted.scale.lane[lane] * batch.from[static_cast<size_t>(b)];
      wish.min[at] = wanted.min.lane[lane] * batch.from[static_cast<size_t>(b)];
      for (int i = 0; i < encoding.sub; ++i) wish.importance[at] += batch.lanes.weight[i].lane[lane];
    }
    out[b] = batch.zero[static_cast<size_t>(b)] ? BlockHeader{} : encoding.snap(wish);
  }
}

}  // namespace lowbit

#include "quantize/search/refine.h"

#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "encoding/families.h"

namespace lowbit {
namespace {

constexpr int kRounds = 1;         // of solving for the units and choosing the integers anew
constexpr int kUnitRounds = 4;     // sixteen candidates for the unit each
constexpr float kUnitStep = 0.1F;  // between candidates: how much further the greatest value maps, in integers

class Refinement {
 public:
  explicit Refinement(const BlockBatch& batch)
      : batch_(batch),
        encoding_(*batch.encoding),
        sub_blocks_(encoding_.sub_blocks()),
        range_{static_cast<float>(encoding_.lowest_scale), static_cast<float>(encoding_.highest_scale),
               static_cast<float>(encoding_.highest_min)} {}

  void run(const LaneGrid& wish, BlockHeader* out) {
    LaneChoice best;
    start(wish, best);
    search_kernels().improve(batch_.lanes, batch_.levels, range_, best);
    for (int r = 0; r < kRounds; ++r) {
      LaneChoice next = best;
      for (int b = 0; b < batch_.count; ++b) solve_units(next, b);
      search_kernels().measure(batch_.lanes, batch_.levels, next);
      search_kernels().improve(batch_.lanes, batch_.levels, range_, next);
      for (int b = 0; b < batch_.count; ++b) {
        if (error(next, b) < error(best, b)) take(next, b, best);
      }
    }
    for (int b = 0; b < batch_.count; ++b) out[b] = header(best, b);
  }

 private:
  /// The binary16 nearest to a unit of block b, in the batch's scale.
  float storable(float unit, int b) const {
    const float factor = batch_.factor_of(b);
    return f16_to_f32(finite_f16(unit / factor)) * factor;
  }

  static float nearest_integer(float value, float unit, float lowest, float highest) {
    if (unit == 0) return 0;
    return std::clamp(std::nearbyint(value / unit), lowest, highest);
  }

  void set_unit(LaneFloats& units, int b, float unit) const {
    const float value = storable(unit, b);
    std::fill_n(units.lane + b * sub_blocks_, sub_blocks_, value);
  }

  float fit(const float* values, const float* weights, float lowest, float highest) const {
    float targets[128];
    const int n = 16 * kUnitRounds;
    for (int i = 0; i < n; ++i) {
      const float step = kUnitStep * static_cast<float>(lowest < 0 ? i / 2 - n / 4 : i - n * 3 / 4);
      targets[i] = lowest < 0 ? (i % 2 == 0 ? lowest - step : highest + step) : highest + step;
    }
    return search_kernels().fit_unit(values, weights, sub_blocks_, lowest, highest, targets, kUnitRounds);
  }

  /// Units and integers nearest to the wishes: the scales first, weighted by how fast the error grows with each while
  /// its minimum follows; then the minima that suit these scales.
  void start(const LaneGrid& wish, LaneChoice& choice) const {
    std::fill_n(choice.min_unit.lane, kLanes, 1.0F);
    std::fill_n(choice.scale.lane, kLanes, 1.0F);
    choice.unit = wish.scale;
    choice.min = wish.min;
    search_kernels().measure(batch_.lanes, batch_.levels, choice);
    LaneFloats stiffness;
    for (int lane = 0; lane < kLanes; ++lane) {
      const float l = choice.l.lane[lane];
      stiffness.lane[lane] = choice.ll.lane[lane];
      if (encoding_.has_min) stiffness.lane[lane] -= l * l / batch_.lanes.total.lane[lane];
      stiffness.lane[lane] = std::max(stiffness.lane[lane], 1e-20F);
    }
    std::fill_n(choice.unit.lane, kLanes, 0.0F);
    for (int b = 0; b < batch_.count; ++b) {
      const int at = b * sub_blocks_;
      set_unit(choice.unit, b,
               fit(wish.scale.lane + at, stiffness.lane + at, range_.lowest_scale, range_.highest_scale));
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      choice.scale.lane[lane] =
          nearest_integer(wish.scale.lane[lane], choice.unit.lane[lane], range_.lowest_scale, range_.highest_scale);
    }
    search_kernels().measure(batch_.lanes, batch_.levels, choice);
    if (!encoding_.has_min) return;
    LaneFloats mins;
    for (int lane = 0; lane < kLanes; ++lane) {
      const float scale = choice.unit.lane[lane] * choice.scale.lane[lane];
      const SubBlocks& lanes = batch_.lanes;
      mins.lane[lane] =
          std::max(0.0F, (scale * choice.l.lane[lane] - lanes.total_x.lane[lane]) / lanes.total.lane[lane]);
    }
    std::fill_n(choice.min_unit.lane, kLanes, 0.0F);
    for (int b = 0; b < batch_.count; ++b) {
      const int at = b * sub_blocks_;
      set_unit(choice.min_unit, b, fit(mins.lane + at, batch_.lanes.total.lane + at, 0, range_.highest_min));
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      choice.min.lane[lane] = nearest_integer(mins.lane[lane], choice.min_unit.lane[lane], 0, range_.highest_min);
    }
    search_kernels().measure(batch_.lanes, batch_.levels, choice);
  }

  float error(const LaneChoice& choice, int b) const {
    float sum = 0;
    for (int s = 0; s < sub_blocks_; ++s) sum += choice.error.lane[b * sub_blocks_ + s];
    return sum;
  }

  /// Copies block b.
  void take(const LaneChoice& from, int b, LaneChoice& to) const {
    const int at = b * sub_blocks_;
    const auto copy = [&](const LaneFloats& a, LaneFloats& z) { std::copy_n(a.lane + at, sub_blocks_, z.lane + at); };
    copy(from.unit, to.unit);
    copy(from.min_unit, to.min_unit);
    copy(from.scale, to.scale);
    copy(from.min, to.min);
    copy(from.l, to.l);
    copy(from.ll, to.ll);
    copy(from.lx, to.lx);
    copy(from.error, to.error);
  }

  /// The units of least squared error for the integers and codes of block b.
  void solve_units(LaneChoice& choice, int b) const {
    float ss = 0, sm = 0, mm = 0, sx = 0, mx = 0;
    const int at = b * sub_blocks_;
    for (int lane = at; lane < at + sub_blocks_; ++lane) {
      const float s = choice.scale.lane[lane], m = choice.min.lane[lane];
      ss += s * s * choice.ll.lane[lane];
      sm += s * m * choice.l.lane[lane];
      mm += m * m * batch_.lanes.total.lane[lane];
      sx += s * choice.lx.lane[lane];
      mx += m * batch_.lanes.total_x.lane[lane];
    }
    const float determinant = ss * mm - sm * sm;
    float unit = choice.unit.lane[at], min_unit = choice.min_unit.lane[at];
    if (determinant > 1e-6F * ss * mm) {
      unit = (sx * mm - sm * mx) / determinant;
      min_unit = (sx * sm - ss * mx) / determinant;
    } else if (ss > 0) {
      unit = (sx + sm * min_unit) / ss;
    }
    if ((encoding_.lowest_scale == 0 && unit < 0) || min_unit < 0) return;
    set_unit(choice.unit, b, unit);
    set_unit(choice.min_unit, b, min_unit);
  }

  BlockHeader header(const LaneChoice& choice, int b) const {
    BlockHeader out;
    const int at = b * sub_blocks_;
    out.d = finite_f16(choice.unit.lane[at] / batch_.factor_of(b));
    if (encoding_.has_min) out.dmin = finite_f16(choice.min_unit.lane[at] / batch_.factor_of(b));
    for (int s = 0; s < sub_blocks_; ++s) {
      out.scale[static_cast<size_t>(s)] = static_cast<int8_t>(choice.scale.lane[at + s]);
      if (encoding_.has_min) out.min[static_cast<size_t>(s)] = static_cast<uint8_t>(choice.min.lane[at + s]);
    }
    return out;
  }

  const BlockBatch& batch_;
  const Encoding& encoding_;
  const int sub_blocks_;
  const IntegerRange range_;
};

}  // namespace

void choose_headers(const BlockBatch& batch, const LaneGrid& wish, BlockHeader* out) {
  Refinement(batch).run(wish, out);
}

}  // namespace lowbit

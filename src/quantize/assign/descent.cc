#include "quantize/assign/descent.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/half.h"
#include "encoding/families.h"
#include "quantize/assign/round.h"

namespace lowbit {
namespace {

class Descent {
 public:
  Descent(QuantizedStrip& strip, const std::vector<float>& hessian)
      : s_(strip), e_(*strip.encoding), window_(strip, hessian, e_.sub), columns_(static_cast<size_t>(e_.sub)) {}

  void run() {
    const auto cols = static_cast<int64_t>(s_.target.size());
    for (int64_t at = 0; at < cols; at += e_.sub) {
      auto& headers = s_.headers[static_cast<size_t>(at / e_.block)];
      const auto sub = static_cast<size_t>(at % e_.block / e_.sub);
      LaneFloats scale, min;
      for (int l = 0; l < kLanes; ++l) {
        const BlockGrid grid = e_.grid(headers[static_cast<size_t>(l)]);
        scale.lane[l] = grid.scale[sub];
        min.lane[l] = grid.min[sub];
      }
      std::iota(columns_.begin(), columns_.end(), static_cast<int32_t>(at));
      window_.load(columns_, scale, min);
      improve_grid(headers, sub, scale, min);
      window_.improve_codes();
    }
  }

 private:
  /// The scale and minimum of least cost for the codes as they are, if the format can store better ones.
  void improve_grid(std::array<BlockHeader, kLanes>& headers, size_t sub, LaneFloats& scale, LaneFloats& min) {
    WindowCost costs[kLanes];
    window_.costs(costs);
    for (int l = 0; l < kLanes; ++l) {
      const WindowCost& q = costs[l];
      BlockHeader& header = headers[static_cast<size_t>(l)];
      const BlockHeader better = better_header(header, sub, scale.lane[l], q);
      if (better == header) continue;
      const BlockGrid grid = e_.grid(better);
      if (!(q.gain(grid.scale[sub] - scale.lane[l], grid.min[sub] - min.lane[l]) > 0)) continue;
      header = better;
      scale.lane[l] = grid.scale[sub];
      min.lane[l] = grid.min[sub];
    }
    window_.move_grid(scale, min);
  }

  /// The neighbour of least cost: the sub-block's own numbers move, what it shares with others stays.
  BlockHeader better_header(const BlockHeader& header, size_t sub, float scale, const WindowCost& q) const {
    const float determinant = q.ll * q.ones - q.l1 * q.l1;
    float wish = q.ll > 0 ? q.lp / q.ll : 0;  // the step of the scale
    if (e_.has_min && determinant > 1e-6F * q.ll * q.ones) wish = (q.ones * q.lp - q.l1 * q.p1) / determinant;
    BlockHeader best = header;
    float best_gain = 0;
    const bool shared = e_.highest_scale > 0;
    const float unit = f16_to_f32(header.d), min_unit = f16_to_f32(header.dmin);
    for (int step = -1; step <= 1; ++step) {
      BlockHeader next = header;
      float s = 0;
      if (shared) {
        if (unit == 0) break;
        const float wanted =
            nearest_integer(std::clamp(static_cast<float>(header.scale[sub]) + wish / unit, -256.0F, 256.0F));
        const float k = std::clamp(wanted + static_cast<float>(step), static_cast<float>(e_.lowest_scale),
                                   static_cast<float>(e_.highest_scale));
        next.scale[sub] = static_cast<int8_t>(k);
        s = unit * static_cast<float>(next.scale[sub] - header.scale[sub]);
      } else {
        if (step != 0) continue;
        next.d = finite_f16(scale + wish);
        s = f16_to_f32(next.d) - scale;
      }
      if (e_.has_min) with_minimum(next, header, sub, s, min_unit, q);
      const BlockGrid now = e_.grid(header), then = e_.grid(next);
      const float gain = q.gain(then.scale[sub] - now.scale[sub], then.min[sub] - now.min[sub]);
      if (gain > best_gain) {
        best_gain = gain;
        best = next;
      }
    }
    return best;
  }

  /// Gives `next`, whose scale is s more than before, the minimum that suits it.
  void with_minimum(BlockHeader& next, const BlockHeader& header, size_t sub, float s, float min_unit,
                    const WindowCost& q) const {
    if (!(q.ones > 0)) return;
    const float m = (s * q.l1 - q.p1) / q.ones;
    if (e_.highest_min > 0) {
      if (min_unit == 0) return;
      const float k = static_cast<float>(header.min[sub]) + m / min_unit;
      next.min[sub] = static_cast<uint8_t>(nearest_integer(std::clamp(k, 0.0F, static_cast<float>(e_.highest_min))));
    } else {
      next.dmin = finite_f16(f16_to_f32(header.dmin) - m);  // a block's own minimum is stored as what is added
    }
  }

  QuantizedStrip& s_;
  const Encoding& e_;
  DescentWindow window_;
  std::vector<int32_t> columns_;  // of the window
};

}  // namespace

void descend(QuantizedStrip& strip, const std::vector<float>& hessian) { Descent(strip, hessian).run(); }

}  // namespace lowbit

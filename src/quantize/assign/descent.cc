#include "quantize/assign/descent.h"

#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "encoding/families.h"
#include "quantize/assign/round.h"

namespace lowbit {
namespace {

class Descent {
 public:
  Descent(QuantizedStrip& strip, const std::vector<float>& hessian)
      : s_(strip), e_(*strip.encoding), h_(hessian.data()), cols_(static_cast<int64_t>(strip.target.size())) {}

  void run() {
    for (int64_t at = 0; at < cols_; at += e_.sub) {
      const auto block = static_cast<size_t>(at / e_.block);
      const auto sub = static_cast<size_t>(at % e_.block / e_.sub);
      load(at, block, sub);
      improve_grid(at, block, sub);
      improve_codes(at);
    }
  }

 private:
  /// The pull of all errors on each column of the sub-block (half the negative gradient), its levels and its grid.
  void load(int64_t at, size_t block, size_t sub) {
    for (int j = 0; j < e_.sub; ++j) pull_[j] = LaneFloats{};
    const ColumnRun run{pull_, s_.error.data(), h_ + at * cols_, cols_, cols_, e_.sub};
    search_kernels().take_up(run);
    for (int j = 0; j < e_.sub; ++j) {
      const LaneBytes& codes = s_.codes[static_cast<size_t>(at + j)];
      for (int l = 0; l < kLanes; ++l) {
        pull_[j].lane[l] = -pull_[j].lane[l];
        level_[j].lane[l] = level(codes.lane[l]);
      }
    }
    for (int l = 0; l < kLanes; ++l) {
      const BlockGrid grid = e_.grid(s_.headers[block][static_cast<size_t>(l)]);
      scale_.lane[l] = grid.scale[sub];
      min_.lane[l] = grid.min[sub];
    }
  }

  float level(int8_t code) const {
    return s_.levels->table != nullptr ? s_.levels->table[static_cast<uint8_t>(code)] : static_cast<float>(code);
  }

  /// The scale and minimum of least cost for the codes as they are, if the format can store better ones.
  void improve_grid(int64_t at, size_t block, size_t sub) {
    LaneFloats ll{}, l1{}, lp{}, p1{};  // l H l, l H 1, l pull, 1 pull
    float ones = 0;
    for (int j = 0; j < e_.sub; ++j) {
      const float* row = h_ + (at + j) * cols_ + at;
      LaneFloats hl{};
      float sum = 0;
      for (int i = 0; i < e_.sub; ++i) {
        sum += row[i];
        for (int l = 0; l < kLanes; ++l) hl.lane[l] += row[i] * level_[i].lane[l];
      }
      ones += sum;
      for (int l = 0; l < kLanes; ++l) {
        ll.lane[l] += level_[j].lane[l] * hl.lane[l];
        l1.lane[l] += hl.lane[l];
        lp.lane[l] += level_[j].lane[l] * pull_[j].lane[l];
        p1.lane[l] += pull_[j].lane[l];
      }
    }
    LaneFloats scale_step{}, min_step{};
    for (int l = 0; l < kLanes; ++l) {
      const Quadratic q{ll.lane[l], l1.lane[l], ones, lp.lane[l], p1.lane[l]};
      BlockHeader& header = s_.headers[block][static_cast<size_t>(l)];
      const BlockHeader better = better_header(header, sub, scale_.lane[l], q);
      if (better == header) continue;
      const BlockGrid grid = e_.grid(better);
      scale_step.lane[l] = grid.scale[sub] - scale_.lane[l];
      min_step.lane[l] = grid.min[sub] - min_.lane[l];
      if (!(q.gain(scale_step.lane[l], min_step.lane[l]) > 0)) {
        scale_step.lane[l] = min_step.lane[l] = 0;
        continue;
      }
      header = better;
      scale_.lane[l] = grid.scale[sub];
      min_.lane[l] = grid.min[sub];
    }
    for (int j = 0; j < e_.sub; ++j) {
      for (int l = 0; l < kLanes; ++l) moved_[j].lane[l] = scale_step.lane[l] * level_[j].lane[l] - min_step.lane[l];
    }
    take_moves(at);
  }

  /// What a change of scale by s and of the minimum by m gains: values move by s * level - m.
  struct Quadratic {
    float ll, l1, ones, lp, p1;
    float gain(float s, float m) const { return 2 * (s * lp - m * p1) - (s * s * ll - 2 * s * m * l1 + m * m * ones); }
  };

  /// The neighbour of least cost: the sub-block's own numbers move, what it shares with others stays.
  BlockHeader better_header(const BlockHeader& header, size_t sub, float scale, const Quadratic& q) const {
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
                    const Quadratic& q) const {
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

  /// Takes moved_ into the errors and the pulls of the sub-block.
  void take_moves(int64_t at) {
    for (int j = 0; j < e_.sub; ++j) {
      const float* row = h_ + (at + j) * cols_ + at;
      for (int i = 0; i < e_.sub; ++i) {
        for (int l = 0; l < kLanes; ++l) pull_[j].lane[l] -= row[i] * moved_[i].lane[l];
      }
      LaneFloats& error = s_.error[static_cast<size_t>(at + j)];
      for (int l = 0; l < kLanes; ++l) error.lane[l] -= moved_[j].lane[l];
    }
  }

  void improve_codes(int64_t at) {
    LaneFloats inverse;
    for (int l = 0; l < kLanes; ++l) inverse.lane[l] = scale_.lane[l] != 0 ? 1 / scale_.lane[l] : 0;
    for (int j = 0; j < e_.sub; ++j) {
      const float* row = h_ + (at + j) * cols_ + at;
      const auto column = static_cast<size_t>(at + j);
      const float stiffness = 1 / row[j];
      LaneFloats step;
      bool any = false;
      for (int l = 0; l < kLanes; ++l) {
        const float now = s_.target[column].lane[l] - s_.error[column].lane[l];
        const float place = (now + pull_[j].lane[l] * stiffness + min_.lane[l]) * inverse.lane[l];
        const int8_t code = nearest_code(place);
        const float value = scale_.lane[l] * level(code) - min_.lane[l];
        step.lane[l] = inverse.lane[l] != 0 ? value - now : 0;
        if (inverse.lane[l] != 0) s_.codes[column].lane[l] = code;
        any = any || step.lane[l] != 0;
        s_.error[column].lane[l] -= step.lane[l];
      }
      if (!any) continue;
      for (int i = j + 1; i < e_.sub; ++i) {
        for (int l = 0; l < kLanes; ++l) pull_[i].lane[l] -= row[i] * step.lane[l];
      }
    }
  }

  int8_t nearest_code(float place) const {
    const LevelSet& levels = *s_.levels;
    if (levels.table == nullptr) {
      return static_cast<int8_t>(nearest_integer(std::clamp(place, levels.low, levels.high)));
    }
    int code = 0;
    for (int i = 0; i < 15; ++i) code += place > (levels.table[i] + levels.table[i + 1]) * 0.5F ? 1 : 0;
    return static_cast<int8_t>(code);
  }

  QuantizedStrip& s_;
  const Encoding& e_;
  const float* h_;
  const int64_t cols_;
  LaneFloats pull_[kMaxSubBlock], level_[kMaxSubBlock], moved_[kMaxSubBlock];
  LaneFloats scale_, min_;
};

}  // namespace

void descend(QuantizedStrip& strip, const std::vector<float>& hessian) { Descent(strip, hessian).run(); }

}  // namespace lowbit

#include "quantize/search/group.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernel/groups.h"
#include "quantize/assign/group.h"

namespace lowbit {
namespace {

struct Extremes {
  float low = 0, high = 0;
  float magnitude() const { return std::max(-low, high); }
};

Extremes extremes(const float* x, int64_t count) {
  Extremes out{x[0], x[0]};
  for (int64_t i = 1; i < count; ++i) {
    out.low = std::min(out.low, x[i]);
    out.high = std::max(out.high, x[i]);
  }
  return out;
}

/// One group, with what every candidate needs.
class Group {
 public:
  Group(const GroupFormat& format, const float* x, const float* importance, int64_t count, const float* gram)
      : format_(format),
        x_(x),
        count_(count),
        gram_(gram),
        level_(static_cast<size_t>(count)),
        error_(static_cast<size_t>(count)) {
    range_ = extremes(x, count);
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    const auto mean = static_cast<float>(sum / static_cast<double>(count));
    weights_.resize(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      weights_[static_cast<size_t>(i)] = std::sqrt(mean + x[i] * x[i]) * (importance == nullptr ? 1.0F : importance[i]);
    }
  }

  GroupParameters abs_max() const {
    const auto top = static_cast<float>(format_.levels == GroupLevels::Integer ? format_.codes() / 2 - 1 : 1);
    return snapped(range_.magnitude() / std::max(top, 1.0F), format_.fixed_zero());
  }

  GroupParameters min_max(bool with_zero) const {
    const auto steps = static_cast<float>(format_.codes() - 1);
    if (format_.zero == GroupZero::Fixed) {
      if (format_.levels != GroupLevels::Integer) return abs_max();
      return snapped(2 * range_.magnitude() / steps, format_.fixed_zero());
    }
    Extremes range = range_;
    if (with_zero) range = {std::min(range.low, 0.0F), std::max(range.high, 0.0F)};
    return from_range(range.low, range.high);
  }

  GroupParameters squares() {
    best_ = {};
    best_error_ = INFINITY;
    if (range_.magnitude() == 0) return zeros();
    if (format_.zero == GroupZero::Fixed) {
      try_scales();
    } else {
      try_ranges();
    }
    for (int round = 0; round < 2; ++round) refine();
    return best_;
  }

  GroupParameters half_quadratic() const;

 private:
  /// A range of no width has scale 0, and all its weights one value: they decode to it if the format has a Float zero.
  GroupParameters from_range(float low, float high) const {
    const auto steps = static_cast<float>(format_.codes() - 1);
    const float scale = (high - low) / steps;
    if (!(scale > 0)) {
      const float magnitude = std::max(std::fabs(low), std::fabs(high));
      if (magnitude == 0) return zeros();
      // One code above (or below) the zero point gives the value.
      return snapped(magnitude, high > 0 ? 0 : 1);
    }
    const float stored = snap_number(format_, scale);
    return snapped(scale, stored > 0 ? -low / stored : 0);
  }

  GroupParameters zeros() const { return snapped(1, format_.zero == GroupZero::Fixed ? format_.fixed_zero() : 1); }

  GroupParameters snapped(float scale, float zero) const {
    return {format_.doubly_quantized ? scale : snap_number(format_, scale), snap_zero(format_, zero)};
  }

  /// The nearest codes' levels, from the zero point, and their errors.
  void round(GroupParameters p) {
    if (format_.levels == GroupLevels::Integer) {
      const auto top = static_cast<float>(format_.codes() - 1);
      return kernels_.round(x_, count_, {p.scale, p.zero, top}, level_.data(), error_.data());
    }
    kernels_.round_to_table(x_, count_, table_of(format_).table, p.scale, level_.data(), error_.data());
  }

  /// Nearest codes on a grid: the error, and the scale of least error for these codes.
  float measure(GroupParameters p, float* better_scale = nullptr) {
    round(p);
    if (gram_ != nullptr) return measure_output(p, better_scale);
    const GroupSums sums = kernels_.weigh(weights_.data(), x_, level_.data(), error_.data(), count_);
    if (better_scale != nullptr) *better_scale = sums.ll > 0 ? static_cast<float>(sums.lx / sums.ll) : p.scale;
    return static_cast<float>(sums.error);
  }

  /// measure() by the error of the group's output.
  float measure_output(GroupParameters p, float* better_scale) const {
    if (better_scale != nullptr) {
      const double power = kernels_.through(gram_, level_.data(), level_.data(), count_);
      const double shared = kernels_.through(gram_, level_.data(), error_.data(), count_);
      *better_scale = power > 0 ? p.scale + static_cast<float>(shared / power) : p.scale;
    }
    return static_cast<float>(kernels_.through(gram_, error_.data(), error_.data(), count_));
  }

  void consider(GroupParameters p) {
    if (!(p.scale > 0)) return;
    const float error = measure(p);
    if (error < best_error_) {
      best_error_ = error;
      best_ = p;
    }
  }

  void try_scales() {
    const bool integer = format_.levels == GroupLevels::Integer;
    const float top = integer ? static_cast<float>(format_.codes() / 2) : 1;
    // From one that clips nothing to one that clips the greatest weight by a third; 8 bits never gain by clipping much.
    const float step = format_.bits == 8 ? 0.004F : 0.025F;
    for (int i = -1; i < 15; ++i) {
      const float target = integer ? top - 0.5F : top;
      consider(snapped(range_.magnitude() / (target * (1 + step * static_cast<float>(i))), format_.fixed_zero()));
    }
  }

  void try_ranges() {
    const float low = std::min(range_.low, 0.0F), high = std::max(range_.high, 0.0F);
    consider(from_range(low, high));
    consider(from_range(range_.low, range_.high));
    if (format_.bits == 8) return;
    constexpr float kStep = 0.05F;
    float shrink_low = 1, shrink_high = 1;
    for (int i = 1; i < 8; ++i) {
      const float s = 1 - kStep * static_cast<float>(i), before = best_error_;
      consider(from_range(range_.low * s, range_.high * s));
      if (best_error_ < before) shrink_low = shrink_high = s;
    }
    for (const float side : {-2.0F, -1.0F, 1.0F, 2.0F}) {
      consider(from_range(range_.low * (shrink_low + side * kStep), range_.high * shrink_high));
      consider(from_range(range_.low * shrink_low, range_.high * (shrink_high + side * kStep)));
    }
  }

  void refine() {
    GroupParameters p = best_;
    float scale = p.scale;
    measure(p, &scale);
    consider(snapped(scale, p.zero));
    if (format_.zero != GroupZero::Float) return;
    double shift = 0, total = 0;  // the zero of least error for the codes of the best scale
    round(best_);
    for (size_t i = 0; i < level_.size(); ++i) {
      shift += static_cast<double>(weights_[i] * (level_[i] + best_.zero - x_[i] / best_.scale));
      total += static_cast<double>(weights_[i]);
    }
    consider(snapped(best_.scale, static_cast<float>(shift / total)));
  }

  const GroupFormat& format_;
  const float* x_;
  const int64_t count_;
  const float* const gram_;  ///< or nullptr
  const GroupKernels& kernels_ = group_kernels();
  std::vector<float> level_, error_;  ///< of the candidate measured last
  std::vector<float> weights_;        ///< what each squared error counts
  Extremes range_;
  GroupParameters best_;
  float best_error_ = INFINITY;
};

/// Badri and Shaji, "Half-Quadratic Quantization of Large Machine Learning Models" (2023). The published code stops all
/// groups at once; here each goes on while it gains.
GroupParameters Group::half_quadratic() const {
  constexpr float kNorm = 0.7F, kBeta = 10, kGreatestInverse = 2e4F;
  constexpr int kRounds = 20;
  const auto top = static_cast<float>(format_.codes() - 1);
  const float range = range_.high - range_.low;
  const float inverse = range <= 1e-4F ? 1 : std::min(top / range, kGreatestInverse);
  GroupParameters out = snapped(1 / inverse, 0);
  const float scale = out.scale, by = 1 / scale;
  float zero = -range_.low * by;
  if (format_.bits == 4) zero = std::nearbyint(zero);
  double best = INFINITY;
  for (int round = 0; round < kRounds; ++round) {
    double error = 0, sum = 0;
    const float z = snap_zero(format_, zero);
    for (int64_t i = 0; i < count_; ++i) {
      const float q = std::clamp(std::nearbyint(x_[i] * by + z), 0.0F, top);
      const float residual = x_[i] - (q - z) * scale, magnitude = std::fabs(residual);
      error += static_cast<double>(std::pow(magnitude, kNorm));
      const float kept = magnitude == 0 ? 0 : std::max(0.0F, magnitude - std::pow(magnitude, kNorm - 1) / kBeta);
      sum += static_cast<double>(q - (x_[i] - std::copysign(kept, residual)) * by);
    }
    if (error >= best) break;
    best = error;
    out.zero = z;
    zero = static_cast<float>(sum / static_cast<double>(count_));
  }
  return out;
}

}  // namespace

GroupParameters search_group(const GroupFormat& format, GroupSearch search, const float* x, const float* importance,
                             int64_t count, const float* gram) {
  Group group(format, x, importance, count, gram);
  switch (search) {
    case GroupSearch::AbsMax:
      return format.zero == GroupZero::Fixed ? group.abs_max() : group.min_max(true);
    case GroupSearch::MinMax:
      return group.min_max(true);
    case GroupSearch::Range:
      return group.min_max(false);
    case GroupSearch::Squares:
      return group.squares();
    case GroupSearch::HalfQuadratic:
      return format.zero == GroupZero::Float ? group.half_quadratic() : group.squares();
  }
  return {};
}

}  // namespace lowbit

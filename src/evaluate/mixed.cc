#include "evaluate/mixed.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "base/error.h"
#include "base/units.h"
#include "quantize/pipeline.h"

namespace lowbit {
MixedPrecision::MixedPrecision(const Plan& plan, const Sensitivity& sensitivity,
                               const std::vector<const Encoding*>& candidates, const GgufMetadata& metadata)
    : plan_(plan) {
  uint64_t planned_weights = 0;
  std::string longest_recipe;
  size_t index = 0;
  for (const PlannedTensor& t : plan.tensors) {
    if (!is_matrix(t.tensor.id)) {
      other_weights_ += t.bytes;
      continue;
    }
    if (index >= sensitivity.matrices.size() || sensitivity.matrices[index].tensor != t.tensor.name) {
      fail("the sensitivity of {} was not measured", t.tensor.name);
    }
    const MatrixSensitivity& measured = sensitivity.matrices[index++];
    matrices_.push_back(&t);
    std::vector<const Encoding*>& encodings = encodings_.emplace_back();
    std::vector<Choice>& choices = choices_.emplace_back();
    if (t.fixed) {
      encodings = {t.encoding};
      choices = {{t.bytes, 0}};  // nothing to decide; its own loss is not predicted
    } else {
      encodings = candidates_for(candidates, t.tensor.cols());
      for (const Encoding* e : encodings) {
        choices.push_back({e->bytes(static_cast<uint64_t>(t.tensor.elements())), measured.predicted_kld(*e)});
      }
    }
    planned_weights += t.bytes;
    size_t longest = 0;
    for (const Encoding* e : encodings) longest = std::max(longest, e->name.size());
    longest_recipe += t.tensor.name + '=' + std::string(longest, 'x') + '\n';
    smallest_ += std::ranges::min(choices, {}, &Choice::bytes).bytes;
    largest_ += std::ranges::max(choices, {}, &Choice::bytes).bytes;
    least_kld_ += std::ranges::min(choices, {}, &Choice::loss).loss;
  }
  GgufMetadata complete = metadata;
  complete.set(kRecipeKey, longest_recipe);
  // Blocks have 16 bits or more, and tensors are padded to 32 bytes: what padding may come to is counted in full.
  constexpr uint64_t kPadding = 32;
  const GgufLayout layout(complete_metadata(complete, plan), output_infos(plan.tensors), "the file");
  other_bytes_ = layout.file_bytes - planned_weights + kPadding * matrices_.size();
  smallest_ += other_bytes_;
  largest_ += other_bytes_;
}

MixedPlan MixedPrecision::result(const Allocation& allocation) const {
  MixedPlan out;
  out.recipe.where = "the allocation";
  for (size_t i = 0; i < matrices_.size(); ++i) {
    out.recipe.types.emplace(matrices_[i]->tensor.name, encodings_[i][allocation.chosen[i]]);
  }
  out.bytes = allocation.bytes + other_bytes_;
  out.predicted_kld = allocation.loss;
  return out;
}

MixedPlan MixedPrecision::within_size(uint64_t bytes) const {
  if (const auto found = bytes < other_bytes_ ? std::nullopt : least_loss(choices_, bytes - other_bytes_)) {
    return result(*found);
  }
  fail("a file of {} is too small: with these types the model takes {} to {}", human_bytes(bytes),
       human_bytes(smallest_), human_bytes(largest_));
}

MixedPlan MixedPrecision::within_bits_per_weight(double bits) const {
  const double bytes = bits * static_cast<double>(plan_.parameters) / 8;
  const auto others = static_cast<double>(other_weights_);
  if (const auto found = bytes < others ? std::nullopt : least_loss(choices_, static_cast<uint64_t>(bytes - others))) {
    return result(*found);
  }
  const auto possible = [&](uint64_t file) {
    return 8 * static_cast<double>(file - other_bytes_ + other_weights_) / static_cast<double>(plan_.parameters);
  };
  fail("{} bits per weight are too few: with these types the model takes {:.3f} to {:.3f}", bits, possible(smallest_),
       possible(largest_));
}

MixedPlan MixedPrecision::within_kld(double kld) const {
  if (const auto found = fewest_bytes(choices_, kld)) return result(*found);
  fail("a KL divergence of {} is not possible with these types: the least that is predicted is {:.2g}", kld,
       least_kld_);
}

MixedPlan within_measured_kld(const MixedPrecision& mixed, double kld,
                              const std::function<double(const MixedPlan&)>& measure) {
  constexpr int kAttempts = 8;
  constexpr double kClose = 0.95;  // of what is allowed: near enough
  std::optional<MixedPlan> best;
  double holds = 0, fails = std::numeric_limits<double>::infinity();  // predicted
  double predicted = std::max(kld, mixed.least_kld());
  for (int i = 0; i < kAttempts; ++i) {
    const MixedPlan plan = mixed.within_kld(predicted);
    if (best && plan.bytes >= best->bytes) break;
    const double measured = measure(plan);
    if (measured <= kld) {
      best = plan;
      holds = predicted;
      if (measured >= kClose * kld || plan.bytes <= mixed.smallest()) break;
    } else {
      if (predicted <= mixed.least_kld()) break;
      fails = predicted;
    }
    predicted *= std::clamp((1 + kClose) / 2 * kld / measured, 0.1, 10.0);
    if (predicted <= holds || predicted >= fails) {
      predicted = holds > 0 && std::isfinite(fails) ? std::sqrt(holds * fails) : holds > 0 ? 2 * holds : fails / 2;
    }
    predicted = std::max(predicted, mixed.least_kld());
  }
  if (best) return *best;
  fail("a KL divergence of {} was not reached with these types; allow more of them, or a greater divergence", kld);
}

}  // namespace lowbit

// Mixed precision: which encoding each matrix gets, so that a model keeps within a size, or within a loss.
#pragma once

#include <cstdint>
#include <functional>

#include "evaluate/sensitivity.h"
#include "quantize/allocate.h"
#include "quantize/recipe.h"

namespace lowbit {

struct MixedPlan {
  Recipe recipe;       ///< of every matrix
  uint64_t bytes = 0;  ///< of the whole file
  double predicted_kld = 0;
};

/// The ways to store a model, of which one is to be chosen.
class MixedPrecision {
 public:
  /// `plan` and `sensitivity` are of the same model; matrices that the plan calls fixed stay as they are. `metadata` is
  /// what the file will hold beside the tensors, the recipe itself not counted.
  MixedPrecision(const Plan& plan, const Sensitivity& sensitivity, const std::vector<const Encoding*>& candidates,
                 const GgufMetadata& metadata);

  /// The least predicted loss in a file of at most `bytes`. Throws Error that tells the sizes possible.
  MixedPlan within_size(uint64_t bytes) const;
  /// The same with all tensors together at `bits` a weight.
  MixedPlan within_bits_per_weight(double bits) const;
  /// The smallest file of at most this predicted KL divergence. Throws Error that tells the least possible.
  MixedPlan within_kld(double kld) const;

  uint64_t smallest() const { return smallest_; }  ///< file, in bytes
  uint64_t largest() const { return largest_; }
  double least_kld() const { return least_kld_; }  ///< predicted, at the largest

 private:
  MixedPlan result(const Allocation& allocation) const;

  const Plan& plan_;
  std::vector<const PlannedTensor*> matrices_;
  std::vector<std::vector<const Encoding*>> encodings_;  ///< of each matrix
  std::vector<std::vector<Choice>> choices_;
  uint64_t other_bytes_ = 0;    ///< of the file: header, metadata, recipe, tensors that are no matrices
  uint64_t other_weights_ = 0;  ///< bytes of the tensors that are no matrices
  uint64_t smallest_ = 0, largest_ = 0;
  double least_kld_ = 0;
};

/// The smallest file found whose measured divergence is at most `kld`: predictions are scaled by what `measure` says of
/// each attempt. Attempts that hold come one smaller than the other, the one that is returned last. Throws Error if the
/// most faithful one does not hold.
MixedPlan within_measured_kld(const MixedPrecision& mixed, double kld,
                              const std::function<double(const MixedPlan&)>& measure);

/// Key of the recipe's text in the file's metadata.
inline constexpr const char* kRecipeKey = "quantize.lowbit.recipe";

}  // namespace lowbit

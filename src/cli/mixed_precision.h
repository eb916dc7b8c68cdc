// What `quantize` takes to choose each tensor's type by itself.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "cli/command.h"
#include "cli/rounding.h"
#include "evaluate/mixed.h"
#include "evaluate/statistics.h"

namespace lowbit {

struct MixedOptions {
  std::string target_size, types, sensitivity, recipe, recipe_out;
  double target_bpw = 0, max_kld = 0;

  bool has_target() const { return !target_size.empty() || target_bpw > 0 || max_kld > 0; }
};

void add_mixed_options(CLI::App& command, MixedOptions& options);

/// What was decided, and what it turned out to be.
struct MixedResult {
  MixedPlan plan;
  std::optional<Estimate> measured_kld;  ///< on text that was held out; with --max-kld only
};

/// Chooses the types. Those of `plan` are replaced, unless --tensor-type and its like fixed them; `metadata` is all
/// that the file will hold. With --max-kld, and unless only a plan is wanted, `write` is asked to write files beside
/// `out` until one holds what was asked; that one is then at `out`. `calibrated` are tokens that the rounding has seen.
MixedResult choose_types(const Common& common, const MixedOptions& mixed, const RoundingOptions& rounding,
                         const ModelSource& source, const Plan& plan, const GgufMetadata& metadata,
                         const std::vector<int32_t>& calibrated, const std::string& out, ThreadPool& pool,
                         const std::function<void(const Recipe&, const std::string&)>& write);

/// A line for each kind of matrix: its weights, bits, and types.
std::string types_table(const Plan& plan);

}  // namespace lowbit

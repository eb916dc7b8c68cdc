#include "quantize/plan.h"

#include <algorithm>
#include <map>
#include <regex>

#include "base/error.h"
#include "quantize/transform/folding.h"

namespace lowbit {
namespace {

class Overrides {
 public:
  explicit Overrides(const std::vector<std::pair<std::string, const Encoding*>>& pairs) {
    for (const auto& [pattern, encoding] : pairs) {
      try {
        rules_.push_back({pattern, std::regex(pattern), encoding});
      } catch (const std::regex_error& e) {
        fail("--tensor-type {}: is not a regular expression: {}", pattern, e.what());
      }
    }
  }

  const Encoding* find(const std::string& name) {
    for (Rule& rule : rules_) {
      if (!std::regex_search(name, rule.regex)) continue;
      rule.used = true;
      return rule.encoding;
    }
    return nullptr;
  }

  void check_all_used() const {
    for (const Rule& rule : rules_) {
      if (!rule.used) fail("--tensor-type {}: no tensor's name matches; lowbit inspect lists them", rule.pattern);
    }
  }

 private:
  struct Rule {
    std::string pattern;
    std::regex regex;
    const Encoding* encoding;
    bool used = false;
  };
  std::vector<Rule> rules_;
};

/// The encoding that the user asked for this very tensor, or nullptr.
const Encoding* override_of(const ModelSource& source, const PlanOptions& options, const OutputTensor& tensor,
                            Overrides& overrides) {
  if (const Encoding* chosen = overrides.find(tensor.name)) return chosen;
  if (tensor.id == output_matrix(source.config) && options.output != nullptr) return options.output;
  return tensor.id.role == Role::TokenEmbedding ? options.embedding : nullptr;
}

const Encoding* wanted_by(const ModelSource& source, const PlanOptions& options, const OutputTensor& tensor) {
  if (options.recipe != nullptr) {
    const auto found = options.recipe->types.find(tensor.name);
    if (found != options.recipe->types.end()) return found->second;
    if (options.mixture == nullptr) {
      fail("{}: has no line for {}; add one, or name a scheme for what the recipe leaves out", options.recipe->where,
           tensor.name);
    }
  }
  if (options.pure) return &encoding(options.mixture->base);
  return &encoding(wanted_encoding(*options.mixture, source.config, options.importance != nullptr || options.layerwise,
                                   tensor.id, tensor.cols()));
}

void check_source(const ModelSource& source, const PlanOptions& options, const PlannedTensor& planned) {
  if (planned.tensor.source == nullptr) return;
  const TensorInfo& source_tensor = *planned.tensor.source;
  const Encoding* from = source_tensor.encoding;
  const bool dense = from->kind == EncodingKind::Float && source_tensor.stored == nullptr;
  if (dense || from == planned.encoding || options.allow_requantize) return;
  fail(
      "{}: tensor {} is already quantized ({}); quantize from the original model, or accept the added loss with "
      "--allow-requantize",
      source.store->where(), source_tensor.name,
      source_tensor.stored ? std::string_view(source_tensor.stored->format) : from->name);
}

bool is_layerwise(const PlanOptions& options, const PlannedTensor& planned, const WeightId& output) {
  const WeightId& id = planned.tensor.id;
  if (!options.layerwise || (id.layer < 0 && id != output)) return false;
  if (options.transformed && id.layer >= 0) return is_matrix(id) || is_folded_vector(id);
  return is_matrix(id) && planned.encoding->kind == EncodingKind::Block;
}

std::vector<float> importance_of(const PlanOptions& options, const PlannedTensor& planned, Plan& plan) {
  if (options.importance == nullptr || planned.encoding->kind != EncodingKind::Block) return {};
  std::vector<float> values = options.importance->find(planned.tensor.name, planned.tensor.cols());
  if (values.empty()) {
    plan.without_importance += planned.tensor.id.layer >= 0;
  } else if (static_cast<int64_t>(values.size()) != planned.tensor.cols()) {
    fail("{}: {} has statistics of several experts, but the model has none", options.importance->where,
         planned.tensor.name);
  }
  return values;
}

void check_recipe(const Recipe& recipe, const Plan& plan) {
  for (const auto& [name, encoding] : recipe.types) {
    const bool known = std::ranges::any_of(
        plan.tensors, [&](const PlannedTensor& t) { return t.tensor.name == name && is_matrix(t.tensor.id); });
    if (!known) fail("{}: the model has no matrix {}: the recipe is another model's", recipe.where, name);
  }
}

/// What llama.cpp's general.file_type may call a file without a mixture of its own.
const Mixture* nearest_mixture(const Plan& plan) {
  std::map<EncodingId, int64_t> weights;
  for (const PlannedTensor& t : plan.tensors) {
    if (t.tensor.id.layer >= 0 && is_matrix(t.tensor.id)) weights[t.encoding->id] += t.tensor.elements();
  }
  const Mixture* out = &mixtures().front();
  int64_t most = 0;
  for (const Mixture& mixture : mixtures()) {
    if (weights[mixture.base] <= most) continue;
    most = weights[mixture.base];
    out = &mixture;
  }
  return out;
}

}  // namespace

Plan make_plan(const ModelSource& source, const PlanOptions& options) {
  Plan plan;
  plan.mixture = options.mixture;
  Overrides overrides(options.overrides);
  for (OutputTensor& tensor : gguf_tensors(source)) {
    PlannedTensor planned;
    const int64_t cols = tensor.cols();
    planned.wanted = &encoding(EncodingId::F32);  // what is no matrix is small
    if (is_matrix(tensor.id)) {
      const Encoding* chosen = override_of(source, options, tensor, overrides);
      planned.fixed = chosen != nullptr;
      planned.wanted = chosen != nullptr ? chosen : wanted_by(source, options, tensor);
    }
    planned.encoding = planned.wanted;
    if (cols % planned.wanted->block != 0) {
      planned.encoding = &encoding(fallback_encoding(planned.wanted->id, cols));
      if (options.strict) {
        fail("{}: tensor {} has rows of {}, no multiple of {}'s block of {}; leave out --strict to store it as {}",
             source.store->where(), tensor.name, cols, planned.wanted->name, planned.wanted->block,
             planned.encoding->name);
      }
    }
    planned.tensor = std::move(tensor);
    check_source(source, options, planned);
    planned.layerwise = is_layerwise(options, planned, output_matrix(source.config));
    planned.importance = importance_of(options, planned, plan);
    const auto elements = static_cast<uint64_t>(planned.tensor.elements());
    planned.bytes = planned.encoding->bytes(elements);
    plan.parameters += static_cast<int64_t>(elements);
    plan.bytes += planned.bytes;
    plan.tensors.push_back(std::move(planned));
  }
  overrides.check_all_used();
  if (options.recipe != nullptr) check_recipe(*options.recipe, plan);
  if (plan.mixture == nullptr) plan.mixture = nearest_mixture(plan);
  return plan;
}

}  // namespace lowbit

#include "evaluate/gptq_shares.h"

#include <algorithm>
#include <cmath>

#include "quantize/encode.h"

namespace lowbit {
namespace {

constexpr int64_t kRowsPerTask = 16;

/// The first of the matrices that read the same inputs.
Role first_reader(Role role) {
  if (role == Role::K || role == Role::V) return Role::Q;
  return role == Role::Up ? Role::Gate : role;
}

}  // namespace

void GptqShares::input(const WeightId& weight, const float* x, int64_t tokens, int64_t cols) {
  if (first_reader(weight.role) != weight.role) return;
  problems_.try_emplace(weight.role, options_, cols, 0, pool_).first->second.add_inputs(x, tokens);
}

void GptqShares::measure(const WeightId& weight, std::span<const float> weights,
                         std::span<const Encoding* const> encodings) {
  LayerProblem& problem = problems_.at(first_reader(weight.role));
  const int64_t cols = problem.cols(), rows = std::ssize(weights) / cols;
  if (problem.tokens() < cols) return;
  if (problem.problem().importance.empty()) {
    problem.close(gguf_name(weight));
    problem.factor(1);  // columns are taken as they are stored
  }
  if (problem.problem().spread.empty()) return;
  const auto loss = [&](const Encoding& to, bool gptq) {
    std::vector<float> error(weights.begin(), weights.end());
    pool_.run((rows + kRowsPerTask - 1) / kRowsPerTask, [&](int64_t task, int) {
      const int64_t first = task * kRowsPerTask, count = std::min(kRowsPerTask, rows - first);
      std::vector<std::byte> bytes(to.bytes(static_cast<uint64_t>(count * cols)));
      std::vector<float> decoded(static_cast<size_t>(count * cols));
      float* some = error.data() + first * cols;
      if (gptq) {
        encode_rows_gptq(to, some, count, problem.problem(), bytes.data());
      } else {
        encode_rows(to, Search::Weighted, some, count, cols, problem.problem().importance.data(), bytes.data());
      }
      decode(to, bytes.data(), count * cols, decoded.data());
      for (size_t i = 0; i < decoded.size(); ++i) some[i] -= decoded[i];
    });
    return problem.energy(error, rows);
  };
  for (const Encoding* to : encodings) {
    if (to->kind != EncodingKind::Block) continue;
    const double before = loss(*to, false), after = loss(*to, true);
    if (!(before > 0) || !(after > 0)) continue;
    Sum& sum = sums_[to];
    sum.logs += std::log(after / before);
    ++sum.matrices;
  }
}

double GptqShares::share(const Encoding& encoding) const {
  const auto found = sums_.find(&encoding);
  return found == sums_.end() ? 1 : std::exp(found->second.logs / found->second.matrices);
}

uint64_t GptqShares::memory(const ModelConfig& c, int64_t tokens) {
  uint64_t squares = 0, largest = 0;
  for (const int64_t cols : {c.hidden, c.hidden, c.heads * c.head_dim, c.ffn}) {
    const auto n = static_cast<uint64_t>(cols);
    squares += n * n;
    if (cols <= tokens) largest = std::max(largest, n * n);
  }
  return (squares + 4 * largest) * sizeof(float);  // gathered; those that are factored, with the factors
}

}  // namespace lowbit

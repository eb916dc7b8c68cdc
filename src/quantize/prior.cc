#include "quantize/prior.h"

#include <algorithm>
#include <cmath>

namespace lowbit {
namespace {

constexpr int64_t kChunkWeights = int64_t{1} << 18;
constexpr int64_t kLanes = 16;  // partial sums, so that they can be vectorised

/// sqrt(sum((row * scale)^2) + bias^2)
float norm(const float* row, const float* scale, int64_t cols, float bias) {
  float sums[kLanes] = {};
  int64_t c = 0;
  for (; c + kLanes <= cols; c += kLanes) {
    for (int64_t l = 0; l < kLanes; ++l) {
      const float value = row[c + l] * scale[c + l];
      sums[l] += value * value;
    }
  }
  for (; c < cols; ++c) sums[0] += row[c] * scale[c] * row[c] * scale[c];
  float sum = bias * bias;
  for (const float s : sums) sum += s;
  return std::sqrt(sum);
}

class Estimator {
 public:
  Estimator(const ModelSource& source, ThreadPool& pool) : source_(source), store_(*source.store), pool_(pool) {}

  std::vector<float> of(const WeightId& id) {
    switch (id.role) {
      case Role::Q:
      case Role::K:
      case Role::V:
        return magnitudes({Role::AttentionNorm, id.layer});
      case Role::Gate:
      case Role::Up:
        return magnitudes({Role::FfnNorm, id.layer});
      case Role::AttentionOutput:
        return heads(row_norms({Role::V, id.layer}, {Role::AttentionNorm, id.layer}));
      case Role::Down: {
        std::vector<float> gate = row_norms({Role::Gate, id.layer}, {Role::FfnNorm, id.layer});
        const std::vector<float> up = row_norms({Role::Up, id.layer}, {Role::FfnNorm, id.layer});
        for (size_t i = 0; i < gate.size(); ++i) gate[i] *= up[i];
        return gate;
      }
      default:
        return {};  // the embedding and the output matrix: nothing comes before, or norms that serve all rows alike
    }
  }

 private:
  std::vector<float> read(const WeightId& id) const {
    const TensorInfo& info = store_.at(source_.name(id));
    std::vector<float> out(static_cast<size_t>(info.elements()));
    read_rows(store_, info, 0, info.rows(), out.data());
    return out;
  }

  std::vector<float> magnitudes(const WeightId& id) const {
    std::vector<float> out = read(id);
    for (float& x : out) x = std::abs(x);
    return out;
  }

  std::vector<float> row_norms(const WeightId& id, const WeightId& before) {
    const TensorInfo& info = store_.at(source_.name(id));
    const std::vector<float> scale = read(before);
    std::vector<float> bias;
    if (source_.find({id.role, id.layer, true}) != nullptr) bias = read({id.role, id.layer, true});
    const int64_t cols = info.cols(), step = std::max<int64_t>(1, kChunkWeights / cols);
    std::vector<float> out(static_cast<size_t>(info.rows()));
    scratch_.resize(static_cast<size_t>(pool_.size()));
    pool_.run((info.rows() + step - 1) / step, [&](int64_t chunk, int worker) {
      const int64_t begin = chunk * step, count = std::min(step, info.rows() - begin);
      std::vector<float>& rows = scratch_[static_cast<size_t>(worker)];
      rows.resize(static_cast<size_t>(count * cols));
      read_rows(store_, info, begin, count, rows.data());
      for (int64_t r = 0; r < count; ++r) {
        const auto at = static_cast<size_t>(begin + r);
        out[at] = norm(rows.data() + r * cols, scale.data(), cols, bias.empty() ? 0.0F : bias[at]);
      }
    });
    return out;
  }

  /// A channel of the attention's output is a mean of its value head's channel, which several query heads share.
  std::vector<float> heads(const std::vector<float>& values) const {
    const ModelConfig& c = source_.config;
    std::vector<float> out;
    for (int64_t h = 0; h < c.heads; ++h) {
      const auto from = values.begin() + h / (c.heads / c.kv_heads) * c.head_dim;
      out.insert(out.end(), from, from + c.head_dim);
    }
    return out;
  }

  const ModelSource& source_;
  const TensorStore& store_;
  ThreadPool& pool_;
  std::vector<std::vector<float>> scratch_;
};

}  // namespace

void estimate_importance(Plan& plan, const ModelSource& source, ThreadPool& pool) {
  Estimator estimator(source, pool);
  for (PlannedTensor& planned : plan.tensors) {
    const OutputTensor& tensor = planned.tensor;
    if (planned.encoding->kind != EncodingKind::Block || tensor.id.layer < 0 || planned.layerwise ||
        !planned.importance.empty()) {
      continue;
    }
    planned.importance = estimator.of(tensor.id);
    // A damaged weight is told of when its own tensor is read.
    const auto sound = [](float x) { return std::isfinite(x); };
    if (!std::ranges::all_of(planned.importance, sound)) planned.importance.clear();
  }
}

}  // namespace lowbit

#include "kernel/block_scales.h"
#include "kernel/columns.h"
#include "model/layer_pass.h"

namespace lowbit {
namespace {

bool keeps_outliers(const Linear& linear) { return linear.inputs.outlier > 0 && has_columns(linear.w); }

}  // namespace

Inputs::Form Inputs::form_of(const Linear& linear, const Kernels& kernels) const {
  const Family family = linear.w.view().family;
  if (!traits(family).is_float && linear.inputs.scales != InputRounding::Scales::Own) return kAsked;
  const ActivationForm fastest = kernels.fastest(family);
  if (rounding_ == ActivationRounding::Fast && fastest == ActivationForm::Bf16) return kBf16;
  if (rounding_ == ActivationRounding::Fast && fastest == ActivationForm::Chunks) return kChunks;
  if (traits(family).is_float) return kFloats;
  return rounding_ == ActivationRounding::LlamaCpp && linear.w.source().block > kTileCols ? kBlockScales : kCodes;
}

const Activations& Inputs::of(const Linear& linear, const Kernels& kernels, ThreadPool& pool) {
  const Form form = form_of(linear, kernels);
  Activations& out = forms_[form];
  if (ready_[form]) return out;
  ready_[form] = true;
  const PackedMatrix& w = linear.w;
  if (form == kBf16 || form == kChunks) {
    prepare_fast(kernels, w, x_, tokens_, out, pool);
  } else if (form == kBlockScales) {
    prepare(kernels, w, x_, tokens_, out, pool, w.source().block);
  } else if (form != kAsked) {
    prepare(kernels, w, x_, tokens_, out, pool);
  } else if (linear.inputs.scales == InputRounding::Scales::Fixed) {
    prepare_on_scale(kernels, w, x_, tokens_, out, pool, linear.inputs.scale);
  } else {
    const float* x = keeps_outliers(linear) ? without_outliers(linear.inputs.outlier, w.cols()) : x_;
    prepare(kernels, w, x, tokens_, out, pool, w.cols());
  }
  return out;
}

/// Each token's own: which those are does not depend on the others, as it does where whole columns are taken.
const float* Inputs::without_outliers(float threshold, int64_t cols) {
  rest_.assign(x_, x_ + tokens_ * cols);
  first_outlier_.assign(1, 0);
  outlier_columns_.clear();
  outliers_.clear();
  for (int64_t t = 0; t < tokens_; ++t) {
    for (int64_t c = 0; c < cols; ++c) {
      float& x = rest_[static_cast<size_t>(t * cols + c)];
      if (!(x >= threshold || x <= -threshold)) continue;
      outlier_columns_.push_back(static_cast<int32_t>(c));
      outliers_.push_back(x);
      x = 0;
    }
    first_outlier_.push_back(outliers_.size());
  }
  return rest_.data();
}

void Inputs::add_outliers(const Linear& linear, int64_t begin, int64_t end, int64_t first, int64_t last,
                          float* out) const {
  if (!keeps_outliers(linear)) return;
  for (int64_t t = first; t < last; ++t) {
    const size_t from = first_outlier_[static_cast<size_t>(t)], to = first_outlier_[static_cast<size_t>(t + 1)];
    if (from == to) continue;
    add_columns(linear.w, begin, end, std::span(outlier_columns_).subspan(from, to - from), &outliers_[from],
                out + t * linear.w.rows());
  }
}

}  // namespace lowbit

#include "evaluate/weight_error.h"

#include <map>

#include "base/error.h"
#include "base/progress.h"
#include "model/layout.h"
#include "quantize/pipeline.h"

namespace lowbit {
namespace {

struct Squares {
  double lost = 0, whole = 0;
};

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string out;
  for (const int64_t dim : shape) out += (out.empty() ? "" : " x ") + std::to_string(dim);
  return out;
}

/// Of rows [begin, begin + rows) of an original tensor, and what became of them.
Squares compare_rows(const ModelSource& original, const OutputTensor& tensor, int64_t begin, int64_t rows,
                     const float* after) {
  std::vector<float> before(static_cast<size_t>(rows * tensor.cols()));
  read_output_rows(*original.store, tensor, begin, rows, before.data());
  Squares out;
  for (size_t i = 0; i < before.size(); ++i) {
    const double lost = double{before[i]} - double{after[i]};
    out.lost += lost * lost;
    out.whole += double{before[i]} * double{before[i]};
  }
  return out;
}

}  // namespace

std::vector<WeightError> weight_errors(const ModelSource& original, const ModelSource& quantized, ThreadPool& pool) {
  const std::vector<OutputTensor> before = hf_tensors(original), after = hf_tensors(quantized);
  std::map<std::string_view, const OutputTensor*> known;
  int64_t total = 0;
  for (const OutputTensor& t : before) known[t.name] = &t;
  for (const OutputTensor& t : after) total += t.elements();
  Progress progress("comparing", static_cast<uint64_t>(total));
  std::vector<WeightError> out;
  for (const OutputTensor& t : after) {
    const auto found = known.find(t.name);
    if (found == known.end() || t.source == nullptr || found->second->source == nullptr) continue;
    const OutputTensor& other = *found->second;
    if (other.shape != t.shape) {
      fail("{}: {} is {}, and {} in {}", quantized.path.string(), t.name, shape_text(t.shape), shape_text(other.shape),
           original.path.string());
    }
    std::vector<Squares> pieces(static_cast<size_t>(row_pieces(t)));
    for_row_pieces(*quantized.store, t, pool, [&](int64_t piece, int64_t first, int64_t rows, const float* values) {
      pieces[static_cast<size_t>(piece)] = compare_rows(original, other, first, rows, values);
    });
    Squares sum;
    for (const Squares& piece : pieces) {
      sum.lost += piece.lost;
      sum.whole += piece.whole;
    }
    const std::string_view stored =
        t.source->stored ? std::string_view(t.source->stored->format) : t.source->encoding->name;
    const double otherwise = sum.lost > 0 ? 1 : 0;
    out.push_back({t.name, std::string(stored), sum.whole > 0 ? sum.lost / sum.whole : otherwise});
    progress.add(static_cast<uint64_t>(t.elements()), t.name);
  }
  return out;
}

}  // namespace lowbit

#include "evaluate/weight_error.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/progress.h"
#include "model/layout.h"
#include "quantize/pipeline.h"

namespace lowbit {
namespace {

constexpr int64_t kPieceWeights = int64_t{1} << 18;

struct Squares {
  double lost = 0, whole = 0;
};

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string out;
  for (const int64_t dim : shape) out += (out.empty() ? "" : " x ") + std::to_string(dim);
  return out;
}

Squares compare_rows(const ModelSource& original, const OutputTensor& a, const ModelSource& quantized,
                     const OutputTensor& b, int64_t begin, int64_t rows) {
  std::vector<float> before(static_cast<size_t>(rows * a.cols())), after(before.size());
  read_output_rows(*original.store, a, begin, rows, before.data());
  read_output_rows(*quantized.store, b, begin, rows, after.data());
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
    const int64_t step = std::max<int64_t>(1, kPieceWeights / t.cols());
    std::vector<Squares> pieces(static_cast<size_t>((t.rows() + step - 1) / step));
    pool.run(static_cast<int64_t>(pieces.size()), [&](int64_t i, int) {
      pieces[static_cast<size_t>(i)] =
          compare_rows(original, other, quantized, t, i * step, std::min(step, t.rows() - i * step));
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

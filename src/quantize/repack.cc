#include "quantize/repack.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>

#include "base/progress.h"
#include "container/quantized_store.h"
#include "encoding/recode.h"
#include "quantize/pipeline.h"

namespace lowbit {
namespace {

constexpr EncodingId kCandidates[] = {EncodingId::Q4_0, EncodingId::Q4_1, EncodingId::Q5_0, EncodingId::Q8_0};
constexpr int64_t kChunkWeights = int64_t{1} << 16;

/// Whether rows [begin, begin + count) of the source decode to the very values after recoding.
bool rows_equal(const GroupMatrix& matrix, const TensorInfo& source, const std::byte* lowered, int64_t begin,
                int64_t count, const Encoding& to) {
  const auto weights = static_cast<size_t>(count * matrix.cols);
  std::vector<float> stored(weights), got(weights);
  std::vector<std::byte> bytes(to.bytes(weights));
  const std::byte* in =
      lowered + static_cast<uint64_t>(begin) * source.encoding->bytes(static_cast<uint64_t>(matrix.cols));
  if (!recode(*source.encoding, in, static_cast<int64_t>(weights), to, bytes.data())) return false;
  decode(to, bytes.data(), static_cast<int64_t>(weights), got.data());
  decode_rows(matrix, begin, count, stored.data());
  return std::equal(stored.begin(), stored.end(), got.begin());  // as numbers: 0 and -0 are equal
}

bool holds_exactly(const GroupMatrix& matrix, const TensorInfo& source, const std::byte* lowered, const Encoding& to,
                   ThreadPool& pool) {
  const int64_t step = std::max<int64_t>(1, kChunkWeights / matrix.cols);
  std::atomic<bool> exact = true;
  pool.run((matrix.rows + step - 1) / step, [&](int64_t i, int) {
    const int64_t begin = i * step, count = std::min(step, matrix.rows - begin);
    if (exact && !rows_equal(matrix, source, lowered, begin, count, to)) exact = false;
  });
  return exact;
}

/// Where nothing is exact: what rounds scales and minima only.
const Encoding& nearest(const TensorInfo& source) {
  const Encoding& from = *source.encoding;
  if (!source.column_order().empty() || from.kind == EncodingKind::Float) return encoding(EncodingId::F16);
  if (can_recode(from, encoding(EncodingId::Q4_1))) return encoding(EncodingId::Q4_1);
  if (from.id == EncodingId::Q4_0 || from.id == EncodingId::Q8_0) return from;
  return encoding(EncodingId::F16);
}

RepackedTensor choose(const QuantizedStore& store, const OutputTensor& tensor, ThreadPool& pool) {
  const TensorInfo& source = *tensor.source;
  RepackedTensor out{tensor.name, source.stored->format, &nearest(source), false};
  if (source.column_order().empty()) {
    const GroupMatrix matrix = store.matrix(source);
    const std::byte* lowered = store.data(source).data();
    for (const EncodingId id : kCandidates) {
      const Encoding& to = encoding(id);
      if (!can_recode(*source.encoding, to) || !holds_exactly(matrix, source, lowered, to, pool)) continue;
      out.encoding = &to;
      out.exact = true;
      break;
    }
    store.drop(source);
  }
  return out;
}

}  // namespace

std::vector<RepackedTensor> plan_repack(const ModelSource& source, Plan& plan, ThreadPool& pool) {
  std::vector<RepackedTensor> out;
  const auto* store = dynamic_cast<const QuantizedStore*>(source.store.get());
  if (store == nullptr) return out;
  std::map<std::string_view, int64_t> weights;
  Progress progress("comparing", static_cast<uint64_t>(plan.parameters));
  for (PlannedTensor& planned : plan.tensors) {
    progress.add(static_cast<uint64_t>(planned.tensor.elements()), planned.tensor.name);
    if (planned.tensor.source == nullptr || planned.tensor.source->stored == nullptr) continue;
    out.push_back(choose(*store, planned.tensor, pool));
    plan.bytes -= planned.bytes;
    planned.wanted = planned.encoding = out.back().encoding;
    planned.bytes = planned.encoding->bytes(static_cast<uint64_t>(planned.tensor.elements()));
    planned.recode = can_recode(*planned.tensor.source->encoding, *planned.encoding);
    plan.bytes += planned.bytes;
    weights[planned.encoding->name] += planned.tensor.elements();
  }
  const auto most =
      std::max_element(weights.begin(), weights.end(), [](auto& a, auto& b) { return a.second < b.second; });
  if (most != weights.end()) {
    if (const Mixture* mixture = find_mixture(most->first)) plan.mixture = mixture;
  }
  return out;
}

}  // namespace lowbit

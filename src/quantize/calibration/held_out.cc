#include "quantize/calibration/held_out.h"

#include <algorithm>
#include <unordered_set>

namespace lowbit {
namespace {

constexpr size_t kRun = 16;
constexpr int64_t kFewest = 4;

/// Hashes of all runs of kRun tokens.
template <typename Visit>
void for_runs(std::span<const int32_t> ids, const Visit& visit) {
  constexpr uint64_t kPrime = 0x9e3779b97f4a7c15u;
  for (size_t i = 0; i + kRun <= ids.size(); ++i) {
    uint64_t hash = 0;
    for (size_t j = 0; j < kRun; ++j) {
      hash = (hash ^ static_cast<uint32_t>(ids[i + j])) * kPrime;
      hash ^= hash >> 29;
    }
    visit(hash);
  }
}

}  // namespace

CalibrationTokens held_out_tokens(const ModelConfig& model, const Tokenizer& tokenizer,
                                  const CalibrationOptions& options, std::span<const std::vector<int32_t>> used) {
  std::unordered_set<uint64_t> runs;
  for (const std::vector<int32_t>& ids : used) {
    for_runs(ids, [&](uint64_t hash) { runs.insert(hash); });
  }
  CalibrationOptions everything = options;
  everything.samples = 0;
  CalibrationTokens out = calibration_tokens(model, tokenizer, everything);
  std::vector<std::span<const int32_t>> all, unused;
  for (int64_t s = 0; s < out.samples(); ++s) {
    const auto sample =
        std::span<const int32_t>(out.ids).subspan(static_cast<size_t>(s * out.length), static_cast<size_t>(out.length));
    bool seen = false;
    for_runs(sample, [&](uint64_t hash) { seen = seen || runs.contains(hash); });
    all.push_back(sample);
    if (!seen) unused.push_back(sample);
  }
  out.note.clear();
  if (static_cast<int64_t>(unused.size()) < kFewest) {
    out.note = "the text is too short to hold some of it back: what is measured on it flatters";
    unused = all;
  }
  const size_t count = std::min(unused.size(), static_cast<size_t>(options.samples));
  std::vector<int32_t> ids;
  for (size_t i = 0; i < count; ++i) {
    const auto sample = unused[i * unused.size() / count];
    ids.insert(ids.end(), sample.begin(), sample.end());
  }
  out.ids = std::move(ids);
  return out;
}

}  // namespace lowbit

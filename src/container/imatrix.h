// Importance matrices: how strongly each input channel of a weight is driven, from calibration text. The file is
// llama.cpp's imatrix, exchangeable with llama-imatrix and llama-quantize in both directions.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lowbit {

/// Statistics of one weight [N, K], or of one weight per expert.
struct ImportanceEntry {
  std::vector<float> sums;    ///< [experts, K]: sum over tokens of the squared input; K = sums.size() / counts.size()
  std::vector<float> counts;  ///< [experts]: tokens (or chunks, see ImportanceMatrix::chunk_size) that were summed

  /// [experts, K]: the mean squared input. 1 for an expert that no token reached, as llama-quantize has it.
  std::vector<float> mean_square() const;
};

struct ImportanceMatrix {
  std::map<std::string, ImportanceEntry> entries;  ///< by the weight's GGUF name
  std::vector<std::string> datasets;               ///< what texts were read
  uint32_t chunk_count = 0;
  uint32_t chunk_size = 0;  ///< tokens a chunk; 0: not told (the old format), and counts are of chunks, not tokens

  /// mean_square() of a weight; empty if there is none. Throws Error unless it has `columns` entries times one or more
  /// experts.
  std::vector<float> find(std::string_view weight, int64_t columns) const;

  /// Adds what another text (or another part of it) gave. Counts of chunks become tokens where the other one tells the
  /// chunk size. Throws Error if a weight has another shape there.
  void combine(const ImportanceMatrix& other);

  std::string where;  ///< the file, for messages
};

/// Reads a GGUF imatrix, or llama.cpp's old binary format (".dat"). Throws Error on anything unsound: sums or counts
/// that are negative or not finite, shapes that do not match, missing partners, truncation.
ImportanceMatrix read_imatrix(const std::filesystem::path& path);

/// The same from bytes, apart so that it can be fuzzed.
ImportanceMatrix parse_imatrix(std::span<const std::byte> file, const std::string& where);

/// Writes the GGUF form; equal to llama-imatrix's bytes for the same numbers. Atomic, as every file of lowbit.
void write_imatrix(const std::filesystem::path& path, const ImportanceMatrix& matrix);

}  // namespace lowbit

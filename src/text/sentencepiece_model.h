// tokenizer.model: the protocol buffer in which SentencePiece keeps a vocabulary.
// (Format: sentencepiece, src/sentencepiece_model.proto.)
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace lowbit {

struct SentencePieceModel {
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<TokenType> types;
  std::optional<int32_t> unk, bos, eos, pad;
  bool byte_fallback = false;
  bool add_dummy_prefix = true;  ///< a space is put before the text
};

/// Throws Error, naming the file, on what is no such model, and on models that are not BPE or that change the text in a
/// way lowbit does not reproduce (a normalization table, removed spaces, spaces as suffixes).
SentencePieceModel read_sentencepiece_model(const std::filesystem::path& path);

}  // namespace lowbit

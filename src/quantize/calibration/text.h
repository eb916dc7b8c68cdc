// What calibration runs through the model: texts and conversations, cut into samples of equal length.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"
#include "text/tokenizer.h"

namespace lowbit {

struct CalibrationOptions {
  /// .jsonl and .ndjson: a document a line, {"text": "..."} or {"messages": [{"role": ..., "content": ...}, ...]};
  /// any other file is one document of plain text. None: the built-in mix.
  std::vector<std::filesystem::path> files;
  int64_t samples = 128;       ///< 0: all that there are
  int64_t length = 512;        ///< tokens a sample
  bool parse_special = false;  ///< special tokens' names in plain texts become those tokens; in conversations they do
};

struct CalibrationTokens {
  std::vector<int32_t> ids;  ///< [samples, length]
  int64_t length = 0;
  std::string description;  ///< names of the texts: "built-in mix (prose, code, ...)" or "wiki.txt, chat.jsonl"
  std::string hash;         ///< of the ids, for provenance: 64-bit FNV-1a, "fnv1a64:" and 16 hexadecimal digits
  std::string note;         ///< one line that the user should see; empty if all is as asked
  int64_t samples() const { return length == 0 ? 0 : static_cast<int64_t>(ids.size()) / length; }
};

/// Samples for a model: the same for the same texts, tokenizer and options on every machine; there is no seed.
///
/// A document of plain text has the BOS and EOS that the tokenizer adds; where it adds neither, documents end with
/// <|endoftext|> if the model has it, else EOS, as in pre-training. Conversations are what the model's own chat
/// template prints (its date is fixed); "role: content" where there is no template, and for those of the built-in mix
/// that the template refuses, with a note. Documents are packed one after another into samples, whole where they fit;
/// the rest of one that was cut opens the next sample, after BOS if the model adds it. Samples are then taken evenly
/// over the whole of each file, in proportion to the files' sizes, and interleaved. Of the built-in mix, prose gives
/// 18 % of them, articles 26 %, code 20 %, mathematics 12 %, other languages 13 % and chat 11 %, as far as they reach.
///
/// With fewer samples than asked for, but 16 or more, there is a note. Throws Error for fewer, for samples that the
/// model's context cannot hold, for text that is not UTF-8 and for lines that cannot be read (FILE:LINE).
CalibrationTokens calibration_tokens(const ModelConfig& model, const Tokenizer& tokenizer,
                                     const CalibrationOptions& options);

/// All text that calibration_tokens draws from, for overlap() (quantize/calibration/overlap.h): documents and messages,
/// a blank line between them.
std::string calibration_text(const CalibrationOptions& options);

}  // namespace lowbit

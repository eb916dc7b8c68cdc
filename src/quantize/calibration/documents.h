// Calibration files as documents: plain text, JSON lines of texts or of conversations, and the built-in mix.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "text/tokenizer.h"

namespace lowbit {

struct CalibrationDocument {
  std::string text;   ///< empty if it is a conversation
  Json messages;      ///< of a conversation, else null: a list of objects, each with "role"
  std::string where;  ///< "chat.jsonl:3"

  bool is_chat() const { return !messages.is_null(); }
};

/// The documents of one file, or of one kind of the built-in mix.
struct CalibrationGroup {
  std::string name;
  bool built_in = false;
  std::vector<CalibrationDocument> documents;  ///< in the file's order; none is empty
};

/// Reads each file, or the built-in mix if there are none. Throws Error, with FILE:LINE, for what is no UTF-8, no JSON
/// line or no conversation, and for a file without text.
std::vector<CalibrationGroup> read_calibration(std::span<const std::filesystem::path> files);

/// Words and roles of a conversation as text, "role: content" with a blank line between: for models without a template.
std::string plain_chat(const CalibrationDocument& chat);

/// The conversation as the model's template prints it, the last answer included. A built-in conversation that opens
/// with a system message which the template refuses has it put before the user's first words, as is the custom for such
/// models. Throws Error, with FILE:LINE, for what the template refuses otherwise.
std::string templated_chat(const TokenizerData& tokenizer, const CalibrationDocument& chat, bool built_in);

}  // namespace lowbit

// A conversation in the form that a chat model was trained on.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace lowbit {

struct ChatMessage {
  std::string role;  ///< "system", "user", "assistant"
  std::string content;
};

/// The conversation as the model's own Jinja template prints it, ready for the assistant's next words if
/// add_generation_prompt. Equal to transformers' apply_chat_template. Throws Error if the model has no template, and
/// for what the template refuses or lowbit does not support, with the template's line: never another template instead.
std::string render_chat(const TokenizerData& tokenizer, std::span<const ChatMessage> messages,
                        bool add_generation_prompt);

/// The token ids of render_chat(..., true). The template itself says where BOS goes, so none is added.
std::vector<int32_t> encode_chat(const Tokenizer& tokenizer, std::span<const ChatMessage> messages);

}  // namespace lowbit

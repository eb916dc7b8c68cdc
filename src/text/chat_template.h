// Chat templates: Jinja, rendered as transformers' apply_chat_template does.
#pragma once

#include <cstdint>
#include <ctime>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace lowbit {

struct ChatMessage {
  std::string role;  ///< "system", "user", "assistant"
  std::string content;
};

/// The conversation as the model's own Jinja template prints it, ready for the assistant's next words if
/// add_generation_prompt. Throws Error if the model has no template, and for what the template refuses or the sandbox
/// does not know, with the template's line: never another template instead.
std::string render_chat(const TokenizerData& tokenizer, std::span<const ChatMessage> messages,
                        bool add_generation_prompt);

/// The token ids of render_chat(..., true). The template itself says where BOS goes, so none is added.
std::vector<int32_t> encode_chat(const Tokenizer& tokenizer, std::span<const ChatMessage> messages);

struct ChatOptions {
  std::string bos_token, eos_token;   ///< text of the special tokens
  bool add_generation_prompt = true;  ///< ends with what opens the assistant's answer
  Json tools;                         ///< list of function descriptions; null if there are none
  Json variables;                     ///< an object: more variables for the template, such as "enable_thinking"
  std::optional<std::time_t> now;     ///< what strftime_now tells; the clock's time if absent
};

/// The options with which a model's own template is rendered: its special tokens' text.
ChatOptions chat_options(const TokenizerData& tokenizer, bool add_generation_prompt);

/// The same for whatever a template reads. `messages`: a list of {"role": ..., "content": ...}, with tool calls, parts
/// and so on as the template wants them.
/// The template runs in a sandbox with limits on its steps, output and nesting: it comes with the model, from
/// strangers.
std::string render_chat(std::string_view chat_template, const Json& messages, const ChatOptions& options);

}  // namespace lowbit

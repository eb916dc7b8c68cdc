#include "text/chat_template.h"

#include "base/error.h"
#include "text/jinja_eval.h"

namespace lowbit {

std::string render_chat(const TokenizerData& tokenizer, std::span<const ChatMessage> messages,
                        bool add_generation_prompt) {
  if (tokenizer.chat_template.empty()) {
    fail("chat template: the model has none; it is no chat model, or its tokenizer_config.json is incomplete");
  }
  Json variables = {{"messages", Json::array()}, {"add_generation_prompt", add_generation_prompt}};
  for (const ChatMessage& m : messages) variables["messages"].push_back({{"role", m.role}, {"content", m.content}});
  const auto token = [&](const char* name, const std::optional<int32_t>& id) {
    if (id) variables[name] = tokenizer.tokens[static_cast<size_t>(*id)];
  };
  token("bos_token", tokenizer.bos);
  token("eos_token", tokenizer.eos);
  token("unk_token", tokenizer.unk);
  token("pad_token", tokenizer.pad);
  return jinja::render(jinja::parse(tokenizer.chat_template), variables);
}

std::vector<int32_t> encode_chat(const Tokenizer& tokenizer, std::span<const ChatMessage> messages) {
  return tokenizer.encode(render_chat(tokenizer.data(), messages, true), false, true);
}

}  // namespace lowbit

#include "text/chat_template.h"

#include "base/error.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/parser.h"

namespace lowbit {

std::string render_chat(std::string_view chat_template, const Json& messages, const ChatOptions& options) {
  constexpr size_t kLargestTemplate = size_t{1} << 20;
  if (chat_template.size() > kLargestTemplate) {
    fail("chat template: is {} bytes long; at most {} are read", chat_template.size(), kLargestTemplate);
  }
  if (!messages.is_array()) fail("chat: the messages should be a list");
  if (!options.variables.is_null() && !options.variables.is_object()) fail("chat: the variables should be an object");
  const jinja::Body body = jinja::parse_template(chat_template);
  jinja::Context context;
  const auto value = [&](const Json& json) { return jinja::Value::from_json(json, context); };
  jinja::Interpreter interpreter(context, options.now);
  interpreter.define("bos_token", value(options.bos_token));
  interpreter.define("eos_token", value(options.eos_token));
  interpreter.define("add_generation_prompt", options.add_generation_prompt);
  interpreter.define("messages", value(messages));
  interpreter.define("tools", value(options.tools));
  interpreter.define("documents", jinja::None{});
  for (const auto& [name, content] : options.variables.items()) interpreter.define(name, value(content));
  return interpreter.render(body);
}

ChatOptions chat_options(const TokenizerData& tokenizer, bool add_generation_prompt) {
  const auto text_of = [&](const std::optional<int32_t>& id) {
    return id ? tokenizer.tokens.at(static_cast<size_t>(*id)) : std::string();
  };
  ChatOptions options;
  options.bos_token = text_of(tokenizer.bos);
  options.eos_token = text_of(tokenizer.eos);
  options.add_generation_prompt = add_generation_prompt;
  options.variables = Json::object();
  if (tokenizer.unk) options.variables["unk_token"] = text_of(tokenizer.unk);
  if (tokenizer.pad) options.variables["pad_token"] = text_of(tokenizer.pad);
  return options;
}

std::string render_chat(const TokenizerData& tokenizer, std::span<const ChatMessage> messages,
                        bool add_generation_prompt) {
  if (tokenizer.chat_template.empty()) {
    fail("chat template: the model has none; it is no chat model, or its tokenizer_config.json is incomplete");
  }
  Json list = Json::array();
  for (const ChatMessage& m : messages) list.push_back({{"role", m.role}, {"content", m.content}});
  return render_chat(tokenizer.chat_template, list, chat_options(tokenizer, add_generation_prompt));
}

std::vector<int32_t> encode_chat(const Tokenizer& tokenizer, std::span<const ChatMessage> messages) {
  return tokenizer.encode(render_chat(tokenizer.data(), messages, true), false, true);
}

}  // namespace lowbit

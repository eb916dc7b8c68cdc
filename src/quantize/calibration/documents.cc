#include "quantize/calibration/documents.h"

#include "base/error.h"
#include "base/file.h"
#include "quantize/calibration/mix.h"
#include "text/chat_template.h"
#include "text/utf8.h"

namespace lowbit {
namespace {

void check_utf8(std::string_view text, const std::string& where) {
  for (size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x80) {
      if (byte == 0) fail("{}: byte {} is zero: this is no text file", where, at);
      ++at;
      continue;
    }
    const Utf8Char c = decode_utf8(text, at);
    if (!c.valid) fail("{}: byte {} is not UTF-8: convert the text to UTF-8", where, at);
    at += c.size;
  }
}

bool is_blank(std::string_view text) { return text.find_first_not_of(" \t\r\n") == std::string_view::npos; }

void check_messages(const Json& messages, const std::string& where) {
  if (!messages.is_array() || messages.empty()) fail("{}: \"messages\" should be a list with a message or more", where);
  for (const Json& message : messages) {
    if (!message.is_object()) fail("{}: each of the \"messages\" should be an object", where);
    json_at<std::string>(message, "role", where);
  }
}

/// A line of JSON as a document; what has no words in it is left out.
void add_line(CalibrationGroup& group, std::string_view line, std::string where) {
  const Json json = parse_json(line, where);
  if (!json.is_object()) fail("{}: should be a JSON object with \"text\" or \"messages\"", where);
  if (const auto messages = json.find("messages"); messages != json.end() && !messages->is_null()) {
    check_messages(*messages, where);
    group.documents.push_back({"", *messages, std::move(where)});
    return;
  }
  if (!json.contains("text")) fail("{}: has neither \"text\" nor \"messages\"", where);
  std::string text = json_at<std::string>(json, "text", where);
  if (!is_blank(text)) group.documents.push_back({std::move(text), Json(), std::move(where)});
}

CalibrationGroup read_file(const std::filesystem::path& path) {
  CalibrationGroup group{path.filename().string(), false, {}};
  const std::string extension = path.extension().string();
  if (extension == ".json") {
    fail("{}: calibration text is read from plain text or JSON lines (.jsonl), not from one JSON value", path.string());
  }
  std::string text = read_text_file(path);
  check_utf8(text, path.string());
  if (text.starts_with("\xef\xbb\xbf")) text.erase(0, 3);  // the byte order mark of Windows' editors
  if (extension == ".jsonl" || extension == ".ndjson") {
    size_t number = 1;
    for (size_t begin = 0; begin < text.size(); ++number) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      const std::string_view line = std::string_view(text).substr(begin, end - begin);
      if (!is_blank(line)) add_line(group, line, fmt::format("{}:{}", path.string(), number));
      begin = end + 1;
    }
  } else if (!is_blank(text)) {
    if (text.ends_with('\n')) text.pop_back();  // as chunk_tokens reads a text
    group.documents.push_back({std::move(text), Json(), path.string()});
  }
  if (group.documents.empty()) fail("{}: has no text", path.string());
  return group;
}

/// What a message says: a string, or the "text" of its parts.
std::string words_of(const Json& message) {
  const auto content = message.find("content");
  if (content == message.end()) return "";
  if (content->is_string()) return content->get<std::string>();
  std::string out;
  if (content->is_array()) {
    for (const Json& part : *content) {
      if (part.is_object() && part.contains("text") && part.at("text").is_string()) out += part.at("text");
    }
  }
  return out;
}

/// The system message put before the user's first words.
Json without_system(const Json& messages) {
  Json out = Json::array();
  for (size_t i = 1; i < messages.size(); ++i) out.push_back(messages[i]);
  out[0]["content"] = words_of(messages[0]) + "\n\n" + words_of(out[0]);
  return out;
}

}  // namespace

std::vector<CalibrationGroup> read_calibration(std::span<const std::filesystem::path> files) {
  std::vector<CalibrationGroup> out;
  for (const std::filesystem::path& file : files) out.push_back(read_file(file));
  if (!files.empty()) return out;
  for (const MixPart& part : calibration_mix()) {
    CalibrationGroup group{std::string(part.name), true, {}};
    size_t number = 0;
    for (const std::string_view line : part.lines) {
      add_line(group, line, fmt::format("data/calibration/{}.jsonl:{}", part.name, ++number));
    }
    out.push_back(std::move(group));
  }
  return out;
}

std::string plain_chat(const CalibrationDocument& chat) {
  std::string out;
  for (const Json& message : chat.messages) {
    if (!out.empty()) out += "\n\n";
    out += message.at("role").get<std::string>() + ": " + words_of(message);
  }
  return out;
}

std::string templated_chat(const TokenizerData& tokenizer, const CalibrationDocument& chat, bool built_in) {
  ChatOptions options = chat_options(tokenizer, false);
  options.now = 1735689600;  // 2025-01-01: templates that print the date print the same one every day
  try {
    try {
      return render_chat(tokenizer.chat_template, chat.messages, options);
    } catch (const Error&) {
      const Json& messages = chat.messages;
      if (!built_in || messages.size() < 2 || messages[0].at("role") != "system") throw;
      return render_chat(tokenizer.chat_template, without_system(messages), options);
    }
  } catch (const Error& e) {
    fail("{}: the model's chat template cannot print this conversation: {}", chat.where, e.what());
  }
}

}  // namespace lowbit

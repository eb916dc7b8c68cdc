#include "model/generate.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"

namespace lowbit {
namespace {

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// From tokens to text that may be shown.
class TextOutput {
 public:
  TextOutput(const std::vector<std::string>& stops, const TextCallback& on_text, std::string& text)
      : stops_(stops), on_text_(on_text), text_(text) {}

  /// False: the callback cancelled.
  bool push(std::string_view bytes) { return show(stops_.push(utf8_.push(bytes))); }
  bool finish() { return show(stops_.push(utf8_.flush())) && show(stops_.flush()); }
  bool stopped() const { return stops_.stopped(); }

 private:
  bool show(const std::string& text) {
    if (text.empty()) return true;
    text_ += text;
    return !on_text_ || on_text_(text);
  }

  Utf8Stream utf8_;
  StopStrings stops_;
  const TextCallback& on_text_;
  std::string& text_;
};

}  // namespace

StopStrings::StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {
  // Text is cut between characters only: what begins inside of one (a continuation byte) never matches.
  std::erase_if(stops_, [](const std::string& s) { return s.empty() || (static_cast<uint8_t>(s[0]) & 0xc0) == 0x80; });
}

std::string StopStrings::push(std::string_view text) {
  if (stopped_) return {};
  held_ += text;
  size_t end = std::string::npos;
  for (const std::string& stop : stops_) end = std::min(end, held_.find(stop));
  if (end != std::string::npos) {
    stopped_ = true;
    held_.resize(end);
    return std::exchange(held_, {});
  }
  size_t hold = 0;  // the longest end of the text that begins a stop string
  for (const std::string& stop : stops_) {
    for (size_t n = std::min(stop.size() - 1, held_.size()); n > hold; --n) {
      if (held_.ends_with(std::string_view(stop).substr(0, n))) hold = n;
    }
  }
  std::string sure = held_.substr(0, held_.size() - hold);
  held_.erase(0, sure.size());
  return sure;
}

std::string StopStrings::flush() { return std::exchange(held_, {}); }

std::string_view name(StopReason reason) {
  switch (reason) {
    case StopReason::EndOfGeneration:
      return "end";
    case StopReason::StopString:
      return "stop";
    case StopReason::MaxTokens:
      return "length";
    case StopReason::ContextFull:
      return "context";
    case StopReason::Cancelled:
      return "cancelled";
  }
  return "";
}

double Generation::prompt_tokens_per_second() const {
  return prompt_seconds > 0 ? static_cast<double>(prompt_tokens) / prompt_seconds : 0;
}

double Generation::tokens_per_second() const {
  return generation_seconds > 0 && tokens.size() > 1 ? static_cast<double>(tokens.size() - 1) / generation_seconds : 0;
}

Generation generate(Transformer& model, const Tokenizer& tokenizer, KvCache& cache, std::span<const int32_t> prompt,
                    const GenerateOptions& options, const TextCallback& on_text) {
  if (prompt.empty()) fail("the prompt is empty: give at least one token of text");
  Generation result;
  result.prompt_tokens = static_cast<int64_t>(prompt.size());
  const int64_t room = cache.capacity() - cache.size();
  if (result.prompt_tokens > room) {
    fail("the prompt has {} tokens, but the context has room for {}: shorten it or raise the context (-c)",
         prompt.size(), room);
  }
  Sampler sampler(options.sampler);
  TextOutput output(options.stop, on_text, result.text);
  const std::vector<int32_t>& ends = tokenizer.data().end_of_generation;
  std::vector<int32_t> history(prompt.begin(), prompt.end());
  std::vector<float> logits(static_cast<size_t>(model.config().vocab));

  const auto next = [&](std::span<const int32_t> tokens) {
    const Segment segment{tokens, &cache, static_cast<int64_t>(tokens.size()) - 1};
    model.logits(model.forward({&segment, 1}).data(), 1, logits.data());
  };
  const Stopwatch prefill;
  next(prompt);
  result.prompt_seconds = prefill.seconds();
  const Stopwatch generation;
  for (;;) {
    if (options.max_tokens >= 0 && static_cast<int64_t>(result.tokens.size()) >= options.max_tokens) {
      result.reason = StopReason::MaxTokens;
      break;
    }
    if (!result.tokens.empty()) {
      if (cache.size() == cache.capacity()) {
        result.reason = StopReason::ContextFull;
        break;
      }
      next({&result.tokens.back(), 1});
    }
    const int32_t token = sampler.sample(logits, history);
    result.tokens.push_back(token);
    history.push_back(token);
    if (!options.ignore_end && std::find(ends.begin(), ends.end(), token) != ends.end()) {
      result.reason = StopReason::EndOfGeneration;
      break;
    }
    if (!output.push(tokenizer.piece(token))) {
      result.reason = StopReason::Cancelled;
      break;
    }
    if (output.stopped()) {
      result.reason = StopReason::StopString;
      break;
    }
  }
  result.generation_seconds = generation.seconds();
  if (result.reason != StopReason::Cancelled && !output.finish()) result.reason = StopReason::Cancelled;
  return result;
}

}  // namespace lowbit

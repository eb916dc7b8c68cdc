#include "quantize/calibration/overlap.h"

#include <fmt/core.h>

#include <algorithm>
#include <vector>

#include "text/utf8.h"

namespace lowbit {
namespace {

constexpr size_t kRun = 13;
constexpr double kMatters = 0.01;  ///< of the evaluation text's runs

struct Word {
  uint64_t hash;
  size_t begin, end;  ///< bytes of the text
};

/// Scripts that put no spaces between words: kana, ideographs.
bool stands_alone(char32_t c) {
  return (c >= 0x3040 && c < 0x3100) || (c >= 0x3400 && c < 0xa000) || (c >= 0xf900 && c < 0xfb00) ||
         (c >= 0x20000 && c < 0x40000);
}

bool is_ascii_word(char32_t c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }

/// Punctuation beyond ASCII: Latin-1's signs, general and CJK punctuation, full-width forms of ASCII's.
bool is_word_part(char32_t c) {
  if (c < 0x80) return is_ascii_word(c);
  if (c < 0xc0) return c == 0xaa || c == 0xb5 || c == 0xba;
  return !(c >= 0x2000 && c < 0x2070) && !(c >= 0x3000 && c < 0x3040) && !(c >= 0xff00 && c < 0xff10) && c != 0xfffd &&
         !is_white_space(c);
}

std::vector<Word> words_of(std::string_view text) {
  std::vector<Word> out;
  bool open = false;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text, at);
    if (!is_word_part(c.code)) {
      open = false;
    } else {
      const bool alone = stands_alone(c.code);
      if (!open || alone) out.push_back({0xcbf29ce484222325u, at, at});
      const char32_t folded = c.code >= 'A' && c.code <= 'Z' ? c.code + 32 : c.code;
      out.back().hash = (out.back().hash ^ folded) * 0x100000001b3u;
      out.back().end = at + c.size;
      open = !alone;
    }
    at += c.size;
  }
  return out;
}

/// One number for each run of kRun words.
std::vector<uint64_t> runs_of(const std::vector<Word>& words) {
  std::vector<uint64_t> out;
  for (size_t i = 0; i + kRun <= words.size(); ++i) {
    uint64_t hash = 0;
    for (size_t k = i; k < i + kRun; ++k) {
      hash = (hash ^ words[k].hash) * 0x9e3779b97f4a7c15u;
      hash ^= hash >> 29;
    }
    out.push_back(hash);
  }
  return out;
}

}  // namespace

Overlap overlap(std::string_view calibration, std::string_view evaluation) {
  std::vector<uint64_t> known = runs_of(words_of(calibration));
  std::sort(known.begin(), known.end());
  const std::vector<Word> words = words_of(evaluation);
  const std::vector<uint64_t> runs = runs_of(words);
  Overlap out;
  out.runs = static_cast<int64_t>(runs.size());
  for (size_t i = 0; i < runs.size(); ++i) {
    if (!std::binary_search(known.begin(), known.end(), runs[i])) continue;
    if (out.shared++ == 0) {
      out.example = evaluation.substr(words[i].begin, words[i + kRun - 1].end - words[i].begin);
    }
  }
  return out;
}

std::string overlap_warning(const Overlap& found) {
  if (found.shared == 0 || found.fraction() < kMatters) return "";
  return fmt::format(
      "{:.1f} % of the evaluation text is in the calibration text too, such as \"{}\": the figures will be too good",
      100 * found.fraction(), found.example);
}

}  // namespace lowbit

#include "quantize/calibration/text.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <span>

#include "base/error.h"
#include "base/hash.h"
#include "quantize/calibration/documents.h"

namespace lowbit {
namespace {

constexpr int64_t kFewest = 16;              ///< samples that still calibrate
constexpr int64_t kShortest = 8;             ///< tokens a sample
constexpr int64_t kMost = int64_t{1} << 31;  ///< tokens in all: 8 GiB of ids
/// Text that is read for each token wanted: what is beyond is thinned out before it is tokenized.
constexpr int64_t kBytesPerToken = 32;
/// Documents looked through for one that fills a sample's end.
constexpr size_t kLookAhead = 64;

/// Percent of the samples that prose, articles, code, mathematics, languages and chat give: by what models are used
/// for, not by how many tokens a vocabulary needs for Thai.
constexpr std::array<int64_t, 6> kMixWeights = {18, 26, 20, 12, 13, 11};

void check(const ModelConfig& model, const CalibrationOptions& options) {
  if (options.samples < 0) fail("calibration: the number of samples must be 0 (all) or more, not {}", options.samples);
  if (options.length < kShortest) {
    fail("calibration: samples of {} tokens are too short: ask for {} or more", options.length, kShortest);
  }
  if (options.length > model.context) {
    fail("calibration: samples of {} tokens are longer than the model's context of {}: ask for shorter ones",
         options.length, model.context);
  }
  if (options.samples > kMost / options.length) {
    fail("calibration: {} samples of {} tokens are more than the {} tokens that are possible", options.samples,
         options.length, kMost);
  }
}

/// Cuts plain documents at line ends into pieces of about `size` bytes.
std::vector<CalibrationDocument> in_pieces(std::vector<CalibrationDocument> documents, size_t size) {
  std::vector<CalibrationDocument> out;
  for (CalibrationDocument& d : documents) {
    for (size_t begin = 0; !d.is_chat() && begin < d.text.size();) {
      size_t end = d.text.size() - begin > size ? d.text.find('\n', begin + size) : d.text.size();
      end = std::min(end == std::string::npos ? end : end + 1, d.text.size());
      out.push_back({d.text.substr(begin, end - begin), Json(), d.where});
      begin = end;
    }
    if (d.is_chat()) out.push_back(std::move(d));
  }
  return out;
}

/// Of texts far larger than what is wanted, pieces from the whole of them, the same share of each file: there is no
/// need to tokenize a gigabyte.
void thin_out(std::vector<CalibrationGroup>& groups, const CalibrationOptions& options) {
  size_t bytes = 0;
  for (const CalibrationGroup& group : groups) {
    for (const CalibrationDocument& d : group.documents) bytes += d.is_chat() ? plain_chat(d).size() : d.text.size();
  }
  const int64_t enough = std::max(options.samples, kFewest) * options.length * kBytesPerToken;
  if (options.samples == 0 || static_cast<int64_t>(bytes) <= enough) return;
  const double share = static_cast<double>(enough) / static_cast<double>(bytes);
  for (CalibrationGroup& group : groups) {
    group.documents = in_pieces(std::move(group.documents), static_cast<size_t>(options.length * kBytesPerToken));
    std::vector<CalibrationDocument> kept;
    for (size_t i = 0; i < group.documents.size(); ++i) {
      const double at = static_cast<double>(i) * share + 0.5;
      if (std::floor(at + share) > std::floor(at)) kept.push_back(std::move(group.documents[i]));
    }
    group.documents = std::move(kept);
  }
}

/// What ends a document of a model whose tokenizer adds nothing.
std::optional<int32_t> separator(const TokenizerData& data) {
  if (data.add_bos || data.add_eos) return std::nullopt;
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    if (data.tokens[id] == "<|endoftext|>" && data.types[id] == TokenType::Control) return static_cast<int32_t>(id);
  }
  return data.eos;
}

/// The conversation as the model's template prints it; none if the template refuses one of the built-in mix.
std::optional<std::string> printed(const CalibrationDocument& document, const TokenizerData& data, bool built_in) {
  try {
    return templated_chat(data, document, built_in);
  } catch (const Error&) {
    if (!built_in) throw;
    return std::nullopt;
  }
}

/// `refused` counts the conversations that the model's template does not print.
std::vector<int32_t> tokens_of(const CalibrationDocument& document, const Tokenizer& tokenizer, bool built_in,
                               bool parse_special, int64_t& refused) {
  const TokenizerData& data = tokenizer.data();
  if (document.is_chat() && !data.chat_template.empty()) {
    if (const auto text = printed(document, data, built_in)) return tokenizer.encode(*text, false, true);
    ++refused;
  }
  std::vector<int32_t> out = document.is_chat() ? tokenizer.encode(plain_chat(document), true, false)
                                                : tokenizer.encode(document.text, true, parse_special);
  if (const auto id = separator(data)) out.push_back(*id);
  return out;
}

/// Packs documents into samples of exactly `length` tokens, one after another. A document goes whole where it fits:
/// a sample's end is filled with the next one that is short enough; if there is none, a document is cut there, by
/// preference one that no sample could hold.
class Packer {
 public:
  Packer(std::vector<std::vector<int32_t>> documents, size_t length, std::optional<int32_t> bos)
      : waiting_(std::move(documents)), length_(length), bos_(bos) {}

  /// [samples, length]; what does not fill the last sample is left out.
  std::vector<int32_t> pack() {
    while (!rest_.empty() || first_ < waiting_.size()) {
      const size_t left = length_ - out_.size() % length_;
      if (!rest_.empty()) {
        std::vector<int32_t> rest = std::move(rest_);
        rest_.clear();
        if (bos_ && rest.front() != *bos_) rest.insert(rest.begin(), *bos_);
        place(rest, left);
      } else {
        place(take(left), left);
      }
    }
    out_.resize(out_.size() / length_ * length_);
    return std::move(out_);
  }

 private:
  void place(std::span<const int32_t> tokens, size_t left) {
    const std::span<const int32_t> now = tokens.first(std::min(tokens.size(), left));
    out_.insert(out_.end(), now.begin(), now.end());
    const std::span<const int32_t> later = tokens.subspan(now.size());
    rest_.assign(later.begin(), later.end());
  }

  std::vector<int32_t> take(size_t left) {
    const size_t end = std::min(waiting_.size(), first_ + kLookAhead);
    size_t found = end;
    for (size_t i = first_; i < end && found == end; ++i) {
      if (waiting_[i].size() <= left) found = i;
    }
    for (size_t i = first_; i < end && found == end; ++i) {
      if (waiting_[i].size() > length_) found = i;
    }
    if (found == end) found = first_;
    std::vector<int32_t> out = std::move(waiting_[found]);
    std::move_backward(waiting_.begin() + static_cast<ptrdiff_t>(first_),
                       waiting_.begin() + static_cast<ptrdiff_t>(found),
                       waiting_.begin() + static_cast<ptrdiff_t>(found) + 1);
    ++first_;
    return out;
  }

  std::vector<std::vector<int32_t>> waiting_;  ///< from first_ on
  size_t first_ = 0;
  size_t length_;
  std::optional<int32_t> bos_;
  std::vector<int32_t> out_, rest_;
};

/// How many samples each group gives: in proportion to the weights, largest remainders first; what a group lacks, the
/// others give. There are `wanted` samples in all groups together, or more.
std::vector<int64_t> shares(const std::vector<int64_t>& have, std::vector<int64_t> weights, int64_t wanted) {
  std::vector<int64_t> out(have.size());
  for (bool lacking = true; lacking;) {
    lacking = false;
    const int64_t all = std::accumulate(weights.begin(), weights.end(), int64_t{0});
    const int64_t left = wanted;
    for (size_t g = 0; g < have.size(); ++g) {
      if (weights[g] == 0 || weights[g] * left / all < have[g]) continue;
      out[g] = have[g];  // gives all that it has
      wanted -= have[g];
      weights[g] = 0;
      lacking = true;
    }
  }
  const int64_t all = std::accumulate(weights.begin(), weights.end(), int64_t{0});
  if (all == 0) return out;
  std::vector<size_t> order;
  int64_t missing = wanted;
  for (size_t g = 0; g < have.size(); ++g) {
    if (weights[g] == 0) continue;
    out[g] = weights[g] * wanted / all;
    missing -= out[g];
    order.push_back(g);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t x, size_t y) { return weights[x] * wanted % all > weights[y] * wanted % all; });
  for (size_t i = 0; missing > 0; ++i, --missing) ++out[order[i]];
  return out;
}

/// `wanted` samples, evenly out of each group, interleaved so that any stretch of them has a bit of each.
std::vector<int32_t> interleave(const std::vector<std::vector<int32_t>>& packed, bool built_in, int64_t wanted,
                                int64_t length) {
  std::vector<int64_t> have;
  for (const std::vector<int32_t>& p : packed) have.push_back(static_cast<int64_t>(p.size()) / length);
  const std::vector<int64_t> share =
      shares(have, built_in ? std::vector<int64_t>(kMixWeights.begin(), kMixWeights.end()) : have, wanted);
  struct Pick {
    double position;
    size_t group;
    int64_t sample;
  };
  std::vector<Pick> picks;
  for (size_t g = 0; g < packed.size(); ++g) {
    for (int64_t i = 0; i < share[g]; ++i) {
      const double position = (static_cast<double>(i) + 0.5) / static_cast<double>(share[g]);
      picks.push_back({position, g, i * have[g] / share[g]});
    }
  }
  std::stable_sort(picks.begin(), picks.end(), [](const Pick& a, const Pick& b) { return a.position < b.position; });
  std::vector<int32_t> out;
  for (const Pick& pick : picks) {
    const auto begin = packed[pick.group].begin() + static_cast<ptrdiff_t>(pick.sample * length);
    out.insert(out.end(), begin, begin + static_cast<ptrdiff_t>(length));
  }
  return out;
}

std::string description_of(const std::vector<CalibrationGroup>& groups) {
  std::vector<std::string_view> names;
  for (const CalibrationGroup& g : groups) names.push_back(g.name);
  return groups.front().built_in ? fmt::format("built-in mix ({})", fmt::join(names, ", "))
                                 : fmt::format("{}", fmt::join(names, ", "));
}

std::string hash_of(std::span<const int32_t> ids) {
  return fmt::format("fnv1a64:{:016x}", fnv1a64({reinterpret_cast<const char*>(ids.data()), ids.size_bytes()}));
}

}  // namespace

CalibrationTokens calibration_tokens(const ModelConfig& model, const Tokenizer& tokenizer,
                                     const CalibrationOptions& options) {
  check(model, options);
  std::vector<CalibrationGroup> groups = read_calibration(options.files);
  CalibrationTokens out;
  out.length = options.length;
  out.description = description_of(groups);
  thin_out(groups, options);
  const TokenizerData& data = tokenizer.data();
  const std::optional<int32_t> bos = data.add_bos ? data.bos : std::nullopt;
  std::vector<std::vector<int32_t>> packed;
  int64_t tokens = 0, have = 0, refused = 0;
  for (CalibrationGroup& group : groups) {
    std::vector<std::vector<int32_t>> documents;
    for (const CalibrationDocument& d : group.documents) {
      documents.push_back(tokens_of(d, tokenizer, group.built_in, options.parse_special, refused));
      tokens += static_cast<int64_t>(documents.back().size());
    }
    packed.push_back(Packer(std::move(documents), static_cast<size_t>(options.length), bos).pack());
    have += static_cast<int64_t>(packed.back().size()) / options.length;
  }
  const int64_t wanted = options.samples == 0 ? std::max(have, kFewest) : options.samples;
  if (have < std::min(wanted, kFewest)) {
    fail(
        "{}: has {} tokens, {} samples of {}; {} samples are wanted, {} at least: give more text, or ask for shorter "
        "samples",
        out.description, tokens, have, options.length, wanted, std::min(wanted, kFewest));
  }
  if (have < wanted) {
    out.note = fmt::format("{}: has only {} samples of {} tokens where {} were asked for: all of them are used",
                           out.description, have, options.length, wanted);
  }
  if (refused > 0) {
    out.note += fmt::format(
        "{}the model's chat template does not print {} of the built-in conversations: they are taken "
        "as plain text",
        out.note.empty() ? "" : "; ", refused);
  }
  out.ids = interleave(packed, groups.front().built_in, std::min(have, wanted), options.length);
  out.hash = hash_of(out.ids);
  return out;
}

std::string calibration_text(const CalibrationOptions& options) {
  std::string out;
  for (const CalibrationGroup& group : read_calibration(options.files)) {
    for (const CalibrationDocument& d : group.documents) {
      if (!out.empty()) out += "\n\n";
      out += d.is_chat() ? plain_chat(d) : d.text;
    }
  }
  return out;
}

}  // namespace lowbit

// Do calibration and evaluation texts overlap? Then an evaluation flatters.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lowbit {

/// Text that calibration and evaluation share. Runs of 13 words are compared (as GPT-3's authors did, arXiv:2005.14165,
/// appendix C): letters and digits only, ASCII in lower case, ideographs and kana one word each.
struct Overlap {
  int64_t runs = 0;     ///< runs of 13 words in the evaluation text
  int64_t shared = 0;   ///< ... that the calibration text has too
  std::string example;  ///< the first of them; empty if none
  double fraction() const { return runs == 0 ? 0.0 : static_cast<double>(shared) / static_cast<double>(runs); }
};
Overlap overlap(std::string_view calibration, std::string_view evaluation);

/// The line that warns of an overlap; empty if it is too small to matter (under 1 % of the evaluation text: set
/// phrases, licences and quotations are shared by honest texts too).
std::string overlap_warning(const Overlap& overlap);

}  // namespace lowbit

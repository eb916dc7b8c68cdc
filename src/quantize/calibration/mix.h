// The built-in calibration texts, data/calibration/*.jsonl, as they are compiled into the program.
#pragma once

#include <span>
#include <string_view>

namespace lowbit {

struct MixPart {
  std::string_view name;                    ///< "prose", "articles", "code", "mathematics", "languages", "chat"
  std::span<const std::string_view> lines;  ///< JSON: {"source": ..., and "text": ... or "messages": ...}
};

std::span<const MixPart> calibration_mix();

}  // namespace lowbit

#include "encoding/recode.h"

#include <algorithm>
#include <cmath>

#include "base/half.h"

namespace lowbit {
namespace {

constexpr int kBlock = 32;

}  // namespace

bool can_recode(const Encoding& from, const Encoding& to) {
  const auto simple = [](const Encoding& e) {
    return e.kind == EncodingKind::Block && e.block == kBlock && e.id != EncodingId::NF4;
  };
  const bool zero_points = from.run_only && from.has_min;
  const bool symmetric = from.id == EncodingId::Q4_0 || from.id == EncodingId::Q8_0;
  const bool target =
      to.id == EncodingId::Q4_0 || to.id == EncodingId::Q4_1 || to.id == EncodingId::Q5_0 || to.id == EncodingId::Q8_0;
  if (!simple(from) || !target || !(zero_points || symmetric)) return false;
  return to.id != EncodingId::Q4_1 || (zero_points && from.levels.size() <= 16);
}

bool recode(const Encoding& from, const std::byte* in, int64_t count, const Encoding& to, std::byte* out) {
  bool exact = true;
  uint8_t codes[kBlock], recoded[kBlock];
  for (int64_t at = 0; at < count; at += kBlock, in += from.block_bytes, out += to.block_bytes) {
    BlockHeader header, target;
    from.unpack(in, header, codes);
    target.d = header.d;
    const float d = f16_to_f32(header.d), zero = from.has_min ? f16_to_f32(header.dmin) : 0;
    if (to.has_min) {
      const float least = -d * zero;
      target.dmin = f32_to_f16(std::clamp(least, -65504.0F, 65504.0F));
      exact = exact && f16_to_f32(target.dmin) == least;
      std::copy_n(codes, kBlock, recoded);
    } else {
      const auto low = static_cast<float>(to.levels.front()), high = static_cast<float>(to.levels.back());
      for (int i = 0; i < kBlock; ++i) {
        const float step = static_cast<float>(from.levels[codes[i]]) - zero;
        const float stored = std::clamp(std::nearbyint(step), low, high);
        exact = exact && (stored == step || d == 0);
        recoded[i] = static_cast<uint8_t>(stored - low);
      }
    }
    to.pack(target, recoded, out);
  }
  return exact;
}

}  // namespace lowbit

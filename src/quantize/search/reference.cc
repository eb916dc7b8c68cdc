#include "quantize/search/reference.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/half.h"
#include "encoding/families.h"

namespace lowbit {
namespace {

constexpr int kBlock = 32;

/// 1 / scale; 0 if that is no finite number, so that a block too small or too large for it gets the code of zero.
float inverse_of(float scale) {
  const float inverse = scale != 0 ? 1.0F / scale : 0.0F;
  return std::isfinite(inverse) ? inverse : 0.0F;
}

/// Q4_0 and Q5_0: the weight of greatest magnitude takes the lowest level.
void signed_block(const float* x, int lowest, BlockHeader& header, uint8_t* codes) {
  float most = 0;
  for (int i = 0; i < kBlock; ++i) {
    if (std::fabs(x[i]) > std::fabs(most)) most = x[i];
  }
  const float scale = most / static_cast<float>(lowest), inverse = inverse_of(scale);
  header.d = finite_f16(scale);
  const int highest_code = -2 * lowest - 1;
  for (int i = 0; i < kBlock; ++i) {
    const float rounded = x[i] * inverse + (0.5F - static_cast<float>(lowest));
    codes[i] = static_cast<uint8_t>(std::min(static_cast<int>(rounded), highest_code));
  }
}

/// Q4_1 and Q5_1: the smallest weight takes the lowest level, the greatest the highest.
void affine_block(const float* x, int highest, BlockHeader& header, uint8_t* codes) {
  const auto [low, high] = std::minmax_element(x, x + kBlock);
  const float scale = (*high - *low) / static_cast<float>(highest), inverse = inverse_of(scale);
  header.d = finite_f16(scale);
  header.dmin = finite_f16(*low);
  for (int i = 0; i < kBlock; ++i) {
    const float rounded = inverse != 0 ? (x[i] - *low) * inverse + 0.5F : 0.0F;
    codes[i] = static_cast<uint8_t>(std::min(static_cast<int>(rounded), highest));
  }
}

/// Q8_0: symmetric, and ties away from zero.
void eight_bit_block(const float* x, BlockHeader& header, uint8_t* codes) {
  float most = 0;
  for (int i = 0; i < kBlock; ++i) most = std::max(most, std::fabs(x[i]));
  const float scale = most / 127.0F, inverse = inverse_of(scale);
  header.d = finite_f16(scale);
  for (int i = 0; i < kBlock; ++i) codes[i] = static_cast<uint8_t>(128 + static_cast<int>(std::round(x[i] * inverse)));
}

}  // namespace

void encode_reference(const Encoding& encoding, const float* weights, int64_t count, std::byte* out) {
  if (encoding.kind != EncodingKind::Block || encoding.sub_blocks() != 1 || encoding.id == EncodingId::IQ4_NL) {
    fail("{} has no published rounding without a search: use the weighted search", encoding.name);
  }
  uint8_t codes[kBlock];
  for (int64_t at = 0; at < count; at += kBlock, out += encoding.block_bytes) {
    BlockHeader header;
    if (encoding.id == EncodingId::Q8_0) {
      eight_bit_block(weights + at, header, codes);
    } else if (encoding.has_min) {
      affine_block(weights + at, encoding.levels.back(), header, codes);
    } else {
      signed_block(weights + at, encoding.levels.front(), header, codes);
    }
    encoding.pack(header, codes, out);
  }
}

}  // namespace lowbit

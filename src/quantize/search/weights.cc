#include "quantize/search/weights.h"

#include <algorithm>
#include <cmath>

namespace lowbit {
namespace {

constexpr float kFloor = 1e-6F;  // of the largest weight

}  // namespace

void block_weights(const Encoding& encoding, const float* x, const float* importance, float* out) {
  const int n = encoding.block;
  float squares = 0;
  for (int i = 0; i < n; ++i) squares += x[i] * x[i];
  const float mean = squares / static_cast<float>(n);
  float most = 0;
  if (importance != nullptr) most = *std::max_element(importance, importance + n);
  if (most > 0) {
    // A weight that is large itself is more often multiplied by a large activation.
    for (int i = 0; i < n; ++i) out[i] = importance[i] / most * std::sqrt(mean + x[i] * x[i]);
  } else {
    for (int i = 0; i < n; ++i) out[i] = std::sqrt(mean) + std::fabs(x[i]);
  }
  const float highest = *std::max_element(out, out + n);
  for (int i = 0; i < n; ++i) out[i] = highest > 0 ? std::max(out[i] / highest, kFloor) : 1.0F;
}

}  // namespace lowbit

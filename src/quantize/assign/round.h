// Rounding to whole numbers without a call, so that loops over it are vectorised.
#pragma once

namespace lowbit {

/// The nearest integer of |x| < 2^22, ties to even: adding 1.5 * 2^23 leaves no bits below the point.
inline float nearest_integer(float x) {
  constexpr float kRound = 12582912.0F;
  return (x + kRound) - kRound;
}

}  // namespace lowbit

#include "kernel/peak.h"

namespace lowbit::ref {

int64_t peak_codes(int64_t rounds) {
  constexpr int kChains = 8;
  int32_t sums[kChains] = {}, code = 3;
  for (int64_t r = 0; r < rounds; ++r) {
    for (int i = 0; i < kChains; ++i) {
      asm volatile("" : "+r"(code));  // not known to be the same each time
      sums[i] += code * -5;
    }
  }
  for (int i = 0; i < kChains; ++i) asm volatile("" ::"r"(sums[i]));
  return rounds * kChains * 2;
}

int64_t peak_floats(int64_t rounds) {
  constexpr int kChains = 10;
  float total[kChains];
  for (int i = 0; i < kChains; ++i) total[i] = static_cast<float>(i);
  for (int64_t r = 0; r < rounds; ++r) {
    for (int i = 0; i < kChains; ++i) total[i] = __builtin_fmaf(0.5f, total[i], 0.5f);
  }
  volatile float sink = 0;
  for (int i = 0; i < kChains; ++i) sink = total[i];
  (void)sink;
  return rounds * kChains * 2;
}

}  // namespace lowbit::ref

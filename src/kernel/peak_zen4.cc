#include <immintrin.h>

#include "kernel/peak.h"
#include "kernel/unroll.h"

namespace lowbit::zen4 {

int64_t peak_bf16(int64_t rounds) {
  constexpr int kChains = 20;
  __m512 total[kChains];
  auto weights = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3f00));  // 0.5
  for (int i = 0; i < kChains; ++i) total[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int64_t r = 0; r < rounds; ++r) {
    LOWBIT_UNROLL
    for (int i = 0; i < kChains; ++i) total[i] = _mm512_dpbf16_ps(total[i], weights, weights);
  }
  for (int i = 0; i < kChains; ++i) asm volatile("" ::"v"(total[i]));
  return rounds * kChains * 32 * 2;
}

}  // namespace lowbit::zen4

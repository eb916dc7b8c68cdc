// Sixteen binary32 lanes in four NEON registers (ARMv8.0: every 64-bit ARM): see vec_ref.h.
#pragma once

#include <arm_neon.h>
#include <stdint.h>

#include "kernel/unroll.h"

namespace lowbit::neon {
namespace {

struct Vec {
  float32x4_t quarter[4];
};
struct DoubleVec {
  float64x2_t eighth[8];
};

template <typename F>
inline Vec each(F f) {
  return {{f(0), f(1), f(2), f(3)}};
}

inline Vec set1(float x) {
  return each([&](int) { return vdupq_n_f32(x); });
}
inline Vec load(const float* p) {
  return each([&](int i) { return vld1q_f32(p + 4 * i); });
}
inline Vec load(const float* p, int n) {
  if (n >= 16) return load(p);
  float copy[16] = {};
  for (int i = 0; i < n; ++i) copy[i] = p[i];
  return load(copy);
}
inline float32x4_t widen_f16(uint16x4_t halves) { return vcvt_f32_f16(vreinterpret_f16_u16(halves)); }
inline Vec load_f16(const uint16_t* p) {
  return each([&](int i) { return widen_f16(vld1_u16(p + 4 * i)); });
}
inline Vec load_f16(const uint16_t* p, int n) {
  if (n >= 16) return load_f16(p);
  uint16_t copy[16] = {};
  for (int i = 0; i < n; ++i) copy[i] = p[i];
  return load_f16(copy);
}
inline Vec load_bf16(const uint16_t* p) {
  return each([&](int i) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16)); });
}
inline Vec load_int8(const uint8_t* p) {
  const int8x16_t codes = vreinterpretq_s8_u8(vld1q_u8(p));
  const int16x8_t low = vmovl_s8(vget_low_s8(codes)), high = vmovl_s8(vget_high_s8(codes));
  return {{vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
           vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)))}};
}
inline void store(float* p, Vec a) {
  for (int i = 0; i < 4; ++i) vst1q_f32(p + 4 * i, a.quarter[i]);
}
inline void store(float* p, Vec a, int n) {
  if (n >= 16) return store(p, a);
  float copy[16];
  store(copy, a);
  for (int i = 0; i < n; ++i) p[i] = copy[i];
}
inline void store_f16(uint16_t* p, Vec a, int n) {
  uint16_t copy[16];
  for (int i = 0; i < 4; ++i) {
    vst1_u16(n >= 16 ? p + 4 * i : copy + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(a.quarter[i])));
  }
  for (int i = 0; i < n && n < 16; ++i) p[i] = copy[i];
}

inline Vec add(Vec a, Vec b) {
  return each([&](int i) { return vaddq_f32(a.quarter[i], b.quarter[i]); });
}
inline Vec sub(Vec a, Vec b) {
  return each([&](int i) { return vsubq_f32(a.quarter[i], b.quarter[i]); });
}
inline Vec mul(Vec a, Vec b) {
  return each([&](int i) { return vmulq_f32(a.quarter[i], b.quarter[i]); });
}
inline Vec div(Vec a, Vec b) {
  return each([&](int i) { return vdivq_f32(a.quarter[i], b.quarter[i]); });
}
inline Vec fma(Vec a, Vec b, Vec c) {
  return each([&](int i) { return vfmaq_f32(c.quarter[i], a.quarter[i], b.quarter[i]); });
}
inline Vec fnma(Vec a, Vec b, Vec c) {
  return each([&](int i) { return vfmsq_f32(c.quarter[i], a.quarter[i], b.quarter[i]); });
}
inline Vec select_greater(Vec a, Vec b, Vec x, Vec y) {
  return each([&](int i) { return vbslq_f32(vcgtq_f32(a.quarter[i], b.quarter[i]), x.quarter[i], y.quarter[i]); });
}
// Not vmaxq and vminq, which give NaN where either is NaN, and order zeros.
inline Vec max(Vec a, Vec b) { return select_greater(a, b, a, b); }
inline Vec min(Vec a, Vec b) { return select_greater(b, a, a, b); }
inline Vec select_first(int n, Vec x, Vec y) {
  const int32_t lanes[4] = {0, 1, 2, 3};
  const int32x4_t lane = vld1q_s32(lanes);
  return each([&](int i) { return vbslq_f32(vcltq_s32(lane, vdupq_n_s32(n - 4 * i)), x.quarter[i], y.quarter[i]); });
}
inline Vec nearest(Vec a) {
  return each([&](int i) { return vrndnq_f32(a.quarter[i]); });
}
inline Vec square_root(Vec a) {
  return each([&](int i) { return vsqrtq_f32(a.quarter[i]); });
}
inline float32x4_t power_of_two(int32x4_t n) {
  return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23));
}
inline Vec scale_by_power(Vec a, Vec n) {
  return each([&](int i) {
    const int32x4_t whole = vcvtq_s32_f32(n.quarter[i]), half = vshrq_n_s32(whole, 1);
    return vmulq_f32(vmulq_f32(a.quarter[i], power_of_two(half)), power_of_two(vsubq_s32(whole, half)));
  });
}
inline int32x4_t magnitude_bits(float32x4_t a) { return vreinterpretq_s32_f32(vabsq_f32(a)); }
inline Vec max_magnitude(Vec a, Vec b) {
  return each([&](int i) {
    return vreinterpretq_f32_s32(vmaxq_s32(magnitude_bits(a.quarter[i]), magnitude_bits(b.quarter[i])));
  });
}

inline float sum(Vec a) {
  const float32x4_t four = vaddq_f32(vaddq_f32(a.quarter[0], a.quarter[2]), vaddq_f32(a.quarter[1], a.quarter[3]));
  return vpadds_f32(vadd_f32(vget_low_f32(four), vget_high_f32(four)));
}
inline float max_lane(Vec a) {
  const float32x4_t low = vmaxnmq_f32(a.quarter[0], a.quarter[1]), high = vmaxnmq_f32(a.quarter[2], a.quarter[3]);
  return vmaxnmvq_f32(vmaxnmq_f32(low, high));
}
inline float max_magnitude_lane(Vec a) {
  int32x4_t four = magnitude_bits(a.quarter[0]);
  for (int i = 1; i < 4; ++i) four = vmaxq_s32(four, magnitude_bits(a.quarter[i]));
  return __builtin_bit_cast(float, vmaxvq_s32(four));
}

inline int store_int8(int8_t* p, Vec a) {
  int32x4_t whole[4];
  for (int i = 0; i < 4; ++i) whole[i] = vcvtnq_s32_f32(a.quarter[i]);
  const int16x8_t low = vqmovn_high_s32(vqmovn_s32(whole[0]), whole[1]);
  const int16x8_t high = vqmovn_high_s32(vqmovn_s32(whole[2]), whole[3]);
  vst1q_s8(p, vqmovn_high_s16(vqmovn_s16(low), high));
  return vaddvq_s32(vaddq_s32(vaddq_s32(whole[0], whole[1]), vaddq_s32(whole[2], whole[3])));
}

inline DoubleVec zero_double() {
  const float64x2_t zero = vdupq_n_f64(0);
  return {{zero, zero, zero, zero, zero, zero, zero, zero}};
}
inline DoubleVec add(DoubleVec a, Vec b) {
  for (int i = 0; i < 4; ++i) {
    a.eighth[2 * i] = vaddq_f64(a.eighth[2 * i], vcvt_f64_f32(vget_low_f32(b.quarter[i])));
    a.eighth[2 * i + 1] = vaddq_f64(a.eighth[2 * i + 1], vcvt_high_f64_f32(b.quarter[i]));
  }
  return a;
}
inline double sum(DoubleVec a) {
  for (int n = 4; n > 0; n /= 2) {
    for (int i = 0; i < n; ++i) a.eighth[i] = vaddq_f64(a.eighth[i], a.eighth[i + n]);
  }
  return vpaddd_f64(a.eighth[0]);
}

}  // namespace
}  // namespace lowbit::neon

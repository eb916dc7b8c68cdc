// Sixteen binary32 lanes in portable code. vec_avx2.h and vec_avx512.h give the same names for their instruction sets;
// *_body.h are written once against these names, so that every instruction set computes the same bits.
#pragma once

#include <stdint.h>
#include <string.h>

#include "base/half.h"
#include "kernel/unroll.h"

namespace lowbit::ref {
namespace {

struct Vec {
  float lane[16];
};
struct DoubleVec {
  double lane[16];
};

template <typename F>
inline Vec each(F f) {
  Vec out;
  for (int i = 0; i < 16; ++i) out.lane[i] = f(i);
  return out;
}

inline uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

inline Vec set1(float x) {
  return each([&](int) { return x; });
}
inline Vec load(const float* p) {
  return each([&](int i) { return p[i]; });
}
/// The first n <= 16 lanes; the others are 0.
inline Vec load(const float* p, int n) {
  return each([&](int i) { return i < n ? p[i] : 0.0f; });
}
inline Vec load_f16(const uint16_t* p) {
  return each([&](int i) { return f16_to_f32(p[i]); });
}
inline Vec load_f16(const uint16_t* p, int n) {
  return each([&](int i) { return i < n ? f16_to_f32(p[i]) : 0.0f; });
}
inline Vec load_bf16(const uint16_t* p) {
  return each([&](int i) { return bf16_to_f32(p[i]); });
}
/// Sixteen signed bytes.
inline Vec load_int8(const uint8_t* p) {
  return each([&](int i) { return static_cast<float>(static_cast<int8_t>(p[i])); });
}
inline void store(float* p, Vec a) { memcpy(p, a.lane, sizeof a.lane); }
inline void store(float* p, Vec a, int n) { memcpy(p, a.lane, static_cast<size_t>(n) * sizeof(float)); }
inline void store_f16(uint16_t* p, Vec a, int n) {
  for (int i = 0; i < n; ++i) p[i] = f32_to_f16(a.lane[i]);
}

inline Vec add(Vec a, Vec b) {
  return each([&](int i) { return a.lane[i] + b.lane[i]; });
}
inline Vec sub(Vec a, Vec b) {
  return each([&](int i) { return a.lane[i] - b.lane[i]; });
}
inline Vec mul(Vec a, Vec b) {
  return each([&](int i) { return a.lane[i] * b.lane[i]; });
}
inline Vec div(Vec a, Vec b) {
  return each([&](int i) { return a.lane[i] / b.lane[i]; });
}
/// a * b + c, rounded once.
inline Vec fma(Vec a, Vec b, Vec c) {
  return each([&](int i) { return __builtin_fmaf(a.lane[i], b.lane[i], c.lane[i]); });
}
/// c - a * b, rounded once.
inline Vec fnma(Vec a, Vec b, Vec c) {
  return each([&](int i) { return __builtin_fmaf(-a.lane[i], b.lane[i], c.lane[i]); });
}
/// a > b ? a : b, so b where either is NaN.
inline Vec max(Vec a, Vec b) {
  return each([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
inline Vec min(Vec a, Vec b) {
  return each([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
}
/// a > b ? x : y
inline Vec select_greater(Vec a, Vec b, Vec x, Vec y) {
  return each([&](int i) { return a.lane[i] > b.lane[i] ? x.lane[i] : y.lane[i]; });
}
/// The first n lanes of x, the others of y.
inline Vec select_first(int n, Vec x, Vec y) {
  return each([&](int i) { return i < n ? x.lane[i] : y.lane[i]; });
}
inline Vec nearest(Vec a) {
  return each([&](int i) { return __builtin_nearbyintf(a.lane[i]); });
}
inline Vec square_root(Vec a) {
  return each([&](int i) { return __builtin_sqrtf(a.lane[i]); });
}
inline float power_of_two(int n) { return float_of(static_cast<uint32_t>(n + 127) << 23); }
/// a * 2^n for whole n in [-126, 128].
inline Vec scale_by_power(Vec a, Vec n) {
  return each([&](int i) {
    // NaN never gets here as n: the caller keeps it within bounds by comparisons that a NaN fails.
    const int whole = static_cast<int>(n.lane[i]), half = whole >> 1;
    return a.lane[i] * power_of_two(half) * power_of_two(whole - half);
  });
}
/// The larger magnitude of each lane; a NaN counts as larger than anything.
inline Vec max_magnitude(Vec a, Vec b) {
  return each([&](int i) {
    const uint32_t x = bits_of(a.lane[i]) & 0x7fffffffu, y = bits_of(b.lane[i]) & 0x7fffffffu;
    return float_of(x > y ? x : y);
  });
}

/// Sums as a tree: lanes i and i+8, then i+4, i+2, i+1.
inline float sum(Vec a) {
  for (int n = 8; n > 0; n /= 2) {
    for (int i = 0; i < n; ++i) a.lane[i] += a.lane[i + n];
  }
  return a.lane[0];
}
/// The largest lane; lanes that are NaN may be passed over.
inline float max_lane(Vec a) {
  float out = a.lane[0];
  for (int i = 1; i < 16; ++i) out = a.lane[i] > out ? a.lane[i] : out;
  return out;
}
/// Of the results of max_magnitude.
inline float max_magnitude_lane(Vec a) {
  uint32_t out = 0;
  for (int i = 0; i < 16; ++i) out = bits_of(a.lane[i]) > out ? bits_of(a.lane[i]) : out;
  return float_of(out);
}

/// Whole numbers in [-128, 127] as bytes; returns their sum.
inline int store_int8(int8_t* p, Vec a) {
  int total = 0;
  for (int i = 0; i < 16; ++i) {
    p[i] = static_cast<int8_t>(a.lane[i]);
    total += p[i];
  }
  return total;
}

inline DoubleVec zero_double() { return {}; }
inline DoubleVec add(DoubleVec a, Vec b) {
  for (int i = 0; i < 16; ++i) a.lane[i] += static_cast<double>(b.lane[i]);
  return a;
}
inline double sum(DoubleVec a) {
  for (int n = 8; n > 0; n /= 2) {
    for (int i = 0; i < n; ++i) a.lane[i] += a.lane[i + n];
  }
  return a.lane[0];
}

}  // namespace
}  // namespace lowbit::ref

// The functions that each instruction set provides; kernels.h says what they do. Arguments are plain data: see
// layout.h.
#pragma once

#include <stdint.h>

#include "kernel/layout.h"

namespace lowbit {

/// The attention of one token of one sequence, all heads. Softmax is online and in binary32.
struct AttentionArgs {
  const float* q;     ///< [heads, head_dim], rotated
  const uint16_t* k;  ///< binary16 [positions, kv_heads, head_dim], rotated
  const uint16_t* v;  ///< binary16 [positions, kv_heads, head_dim]
  float* out;         ///< [heads, head_dim]
  int heads, kv_heads, head_dim;
  int64_t first, last;  ///< positions attended to: [first, last]; `first` > 0 with a sliding window
  float scale;          ///< 1/sqrt(head_dim), usually
};

#define LOWBIT_DECLARE_KERNELS(isa)                                                                        \
  namespace isa {                                                                                          \
  extern const int kCodeGroup, kFloatGroup;                                                                \
  void quantize_row(const float* x, int64_t cols, ActivationTile* out, int64_t stride);                    \
  void matmul_codes(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out,  \
                    int64_t out_stride);                                                                   \
  void matmul_floats(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out, \
                     int64_t out_stride);                                                                  \
  void rms_norm(const float* x, const float* weight, int64_t n, float eps, float* out);                    \
  void rope(float* x, const float* cos, const float* sin, int64_t rotary_dim);                             \
  void silu_mul(float* gate, const float* up, int64_t n);                                                  \
  void add_to(float* x, const float* y, int64_t n);                                                        \
  void attention(const AttentionArgs& args);                                                               \
  void to_f16(const float* x, int64_t n, uint16_t* out);                                                   \
  void from_f16(const uint16_t* x, int64_t n, float* out);                                                 \
  double log_sum_exp(const float* x, int64_t n);                                                           \
  }

#define LOWBIT_DECLARE_CODES(isa)                                                                         \
  namespace isa {                                                                                         \
  extern const int kCodeGroup;                                                                            \
  void matmul_codes(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out, \
                    int64_t out_stride);                                                                  \
  }

LOWBIT_DECLARE_KERNELS(ref)
#if defined(__x86_64__)
LOWBIT_DECLARE_KERNELS(avx2)
LOWBIT_DECLARE_KERNELS(avx512)
LOWBIT_DECLARE_CODES(avxvnni)  // else as avx2
#elif defined(__aarch64__)
LOWBIT_DECLARE_KERNELS(neon)
LOWBIT_DECLARE_CODES(dotprod)  // else as neon
LOWBIT_DECLARE_CODES(i8mm)     // else as neon
#endif
#undef LOWBIT_DECLARE_KERNELS
#undef LOWBIT_DECLARE_CODES

}  // namespace lowbit

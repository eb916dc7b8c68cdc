// The functions that each instruction set provides; kernels.h says what they do. Arguments are plain data: see
// layout.h.
#pragma once

#include <stdint.h>

#include "kernel/layout.h"

namespace lowbit {

/// What keys and values are stored in. Attention reads all but F32.
enum class KvType : uint8_t { F16, BF16, Q8_0, F32 };

/// Positions in a block of keys.
inline constexpr int kKeyBlock = 64;
/// Elements of a head that share a binary16 scale in Q8_0.
inline constexpr int kKvScaled = 32;

/// Bytes of a block of keys: binary16 or bfloat16 [head_dim][kKeyBlock]; Q8_0: codes int8 [head_dim][kKeyBlock], then
/// scales binary16 [head_dim / kKvScaled][kKeyBlock].
static constexpr int64_t key_block_bytes(KvType type, int64_t head_dim) {
  return type == KvType::Q8_0 ? kKeyBlock * (head_dim + head_dim / kKvScaled * 2) : kKeyBlock * head_dim * 2;
}
/// Bytes of a position's values: binary16 or bfloat16 [head_dim]; Q8_0: codes int8 [head_dim], then scales binary16.
static constexpr int64_t value_bytes(KvType type, int64_t head_dim) {
  return type == KvType::Q8_0 ? head_dim + head_dim / kKvScaled * 2 : head_dim * 2;
}
/// Elements of a row of the scales of a value, where they are decoded.
static constexpr int64_t value_scale_row(int64_t head_dim) { return (head_dim / kKvScaled + 15) / 16 * 16; }
/// Elements of the room that Q8_0 is decoded in: keys, values and scales of a block.
static constexpr int64_t attention_room(int64_t head_dim) {
  return kKeyBlock * (2 * head_dim + value_scale_row(head_dim));
}
/// Positions whose share of a row's attention is computed on its own: a whole number of blocks. The grid starts at
/// position 0.
inline constexpr int64_t kAttentionPart = 512;
/// Rows that share a block of keys and values in the near cache, and make a task: enough to outweigh the hand-over, few
/// enough to share out a short prompt.
inline constexpr int kAttentionRows = 48;

/// The attention of consecutive tokens of one sequence, the query heads that share one key/value head. Token t is at
/// position `position` + t and attends to all positions up to its own, or to the last `window` of them; keys and values
/// of all these tokens are in k and v. Softmax is online and in binary32. A row is a head of a token.
struct AttentionArgs {
  const float* q;    ///< head h of token t at q[t * stride + h * head_dim], rotated
  const uint8_t* k;  ///< blocks of keys, rotated: see key_block_bytes()
  const uint8_t* v;  ///< values: see value_bytes()
  float* out;        ///< as q
  int heads, head_dim;
  int64_t position, tokens, stride;
  int64_t window;  ///< 0 = no limit
  float scale;     ///< 1/sqrt(head_dim), usually
  KvType type;
  float* room;  ///< [attention_room(head_dim)] for Q8_0; else unused
};

/// Elements of what a part gives for one row: sums of values, then 16 partial totals, then the greatest score.
static constexpr int64_t attention_record(int64_t head_dim) { return (head_dim + 15) / 16 * 16 + 32; }

#define LOWBIT_DECLARE_CODES(isa)                                                                         \
  namespace isa {                                                                                         \
  extern const int kCodeGroup;                                                                            \
  void matmul_codes(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out, \
                    int64_t out_stride);                                                                  \
  }

#define LOWBIT_DECLARE_PRODUCTS(isa)                                                                       \
  LOWBIT_DECLARE_CODES(isa)                                                                                \
  namespace isa {                                                                                          \
  extern const int kFloatGroup;                                                                            \
  void matmul_floats(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out, \
                     int64_t out_stride);                                                                  \
  }

#define LOWBIT_DECLARE_KERNELS(isa)                                                                  \
  LOWBIT_DECLARE_PRODUCTS(isa)                                                                       \
  namespace isa {                                                                                    \
  void quantize_row(const float* x, int64_t cols, ActivationTile* out, int64_t stride);              \
  void rms_norm(const float* x, const float* weight, int64_t n, float eps, float* out);              \
  void rope(float* x, const float* cos, const float* sin, int64_t rotary_dim);                       \
  void silu_mul(float* gate, const float* up, int64_t n);                                            \
  void add_to(float* x, const float* y, int64_t n);                                                  \
  void attention_part(const AttentionArgs& args, int64_t part, float* out);                          \
  void attention_join(const AttentionArgs& args, const float* parts, int64_t first, int64_t stride); \
  void to_f16(const float* x, int64_t n, uint16_t* out);                                             \
  void from_f16(const uint16_t* x, int64_t n, float* out);                                           \
  double log_sum_exp(const float* x, int64_t n);                                                     \
  }

LOWBIT_DECLARE_KERNELS(ref)
#if defined(__x86_64__)
LOWBIT_DECLARE_KERNELS(avx2)
LOWBIT_DECLARE_KERNELS(avx512)
LOWBIT_DECLARE_CODES(avxvnni)  // else as avx2
LOWBIT_DECLARE_CODES(amx)      // else as avx512
LOWBIT_DECLARE_PRODUCTS(zen4)  // else as avx512
namespace zen4 {
extern const int kBf16Group, kChunkGroup;
void bf16_row(const float* x, int64_t cols, uint32_t* out, int64_t stride);
void matmul_bf16(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out,
                 int64_t out_stride);
void chunk_row(const float* x, int64_t cols, ActivationChunk* out, int64_t stride);
void matmul_chunks(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out,
                   int64_t out_stride);
}  // namespace zen4
#elif defined(__aarch64__)
LOWBIT_DECLARE_KERNELS(neon)
LOWBIT_DECLARE_CODES(dotprod)  // else as neon
LOWBIT_DECLARE_CODES(i8mm)     // else as neon
#endif
#undef LOWBIT_DECLARE_KERNELS
#undef LOWBIT_DECLARE_PRODUCTS
#undef LOWBIT_DECLARE_CODES

}  // namespace lowbit

// The operations of a forward pass, one table of function pointers per instruction set, picked at run time.
//
// Batch-invariant by construction: a token's result never depends on the other tokens of the call nor on the number of
// threads, because every output is one chain of additions in a fixed order.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "kernel/packed.h"

namespace lowbit {

/// Activations of `tokens` rows prepared for products with a PackedMatrix: binary32 for float weights; for the others
/// int8 with one scale a 32 columns (scale = amax/127) and the sum of each 16 codes, which the weights' minima need.
struct Activations {
  int64_t tokens = 0, cols = 0;
  const float* f32 = nullptr;     ///< [tokens, cols], the caller's
  std::vector<int8_t> codes;      ///< [tokens, cols rounded up to kTileCols]
  std::vector<float> scales;      ///< [tokens, tiles]
  std::vector<int16_t> sums;      ///< [tokens, tiles, 2]
};

/// The attention of one token of one sequence, all heads. Softmax is online and in binary32.
struct AttentionArgs {
  const float* q;            ///< [heads, head_dim], rotated
  const uint16_t* k;         ///< binary16 [positions, kv_heads, head_dim], rotated
  const uint16_t* v;         ///< binary16 [positions, kv_heads, head_dim]
  float* out;                ///< [heads, head_dim]
  int heads, kv_heads, head_dim;
  int64_t first, last;       ///< positions attended to: [first, last]; `first` > 0 with a sliding window
  float scale;               ///< 1/sqrt(head_dim), usually
};

struct Kernels {
  std::string_view name;  ///< "ref", "avx2", "avx512"

  /// Fills a token's row of codes, scales and sums.
  void (*quantize_row)(const float* x, int64_t cols, int8_t* codes, float* scales, int16_t* sums);
  /// out[t * out_stride + r] = sum_c W[r,c] x[t,c] for the rows of panels [begin, end), all tokens.
  void (*matmul)(const PackedMatrix& w, int64_t begin, int64_t end, const Activations& x, float* out, int64_t out_stride);
  /// out = x / sqrt(mean(x^2) + eps) * weight
  void (*rms_norm)(const float* x, const float* weight, int64_t n, float eps, float* out);
  /// Rotates x[head_dim] in place, halves split as Hugging Face does: (x[i], x[i + n/2]) by angle (cos[i], sin[i]).
  void (*rope)(float* x, const float* cos, const float* sin, int64_t rotary_dim);
  /// gate[i] = silu(gate[i]) * up[i]
  void (*silu_mul)(float* gate, const float* up, int64_t n);
  void (*add)(float* x, const float* y, int64_t n);  ///< x += y
  void (*attention)(const AttentionArgs& args);
  void (*to_f16)(const float* x, int64_t n, uint16_t* out);
  void (*from_f16)(const uint16_t* x, int64_t n, float* out);
  /// Of a row of logits: the maximum and log(sum(exp(x))), in binary64 where it adds.
  double (*log_sum_exp)(const float* x, int64_t n);
};

/// The best table for this machine, or the one that the environment variable LOWBIT_ISA names (ref, avx2, avx512;
/// for tests). Throws Error if that one is unknown or the machine lacks it.
const Kernels& kernels();
/// Every table that this machine can run, the portable reference first.
const std::vector<const Kernels*>& all_kernels();

/// Prepares activations; what is stored depends on whether w's family multiplies floats or int8.
void prepare(const Kernels& k, const PackedMatrix& w, const float* x, int64_t tokens, Activations& out, ThreadPool& pool);
/// out[tokens, w.rows()] = x W^T, spread over the pool.
void matmul(const Kernels& k, const PackedMatrix& w, const Activations& x, float* out, ThreadPool& pool);

}  // namespace lowbit

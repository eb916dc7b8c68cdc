// The operations of a forward pass, one table of function pointers per instruction set, picked at run time.
//
// Batch-invariant by construction: a token's result never depends on the other tokens of the call nor on the number of
// threads, because every output is one chain of additions in a fixed order. The chains are the same for every
// instruction set, so results are bit-identical across them too; but for matmul_bf16 and matmul_chunks, which few have.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "kernel/ops.h"
#include "kernel/packed.h"

namespace lowbit {

/// What activations enter products as.
enum class ActivationForm : uint8_t {
  Codes,   ///< int8 with a scale (see ActivationTile): with weights that are codes
  Floats,  ///< binary32: with float weights
  Bf16,    ///< rounded to bfloat16: with BF16 and F16 weights, where there is Kernels::matmul_bf16
  Chunks,  ///< ActivationChunk: with weights that have integer scales, where there is Kernels::matmul_chunks
};

/// Activations of `tokens` rows prepared for products with packed matrices of `cols` columns.
struct Activations {
  ActivationView view{};
  ActivationForm form = ActivationForm::Codes;
  struct Free {
    void operator()(std::byte* p) const;
  };
  std::unique_ptr<std::byte, Free> data;  ///< reused from call to call while it is large enough
  size_t capacity = 0;
};

struct Kernels {
  std::string_view name;  ///< "ref", "avx2", "avxvnni", "avx512", "amx", "zen4", "neon", "dotprod", "i8mm"
  std::string_view base;  ///< whose operations it has but for products; its own name if none
  /// Tokens that lie together for the product of that name (0 if there is none): see ActivationView.
  int code_group, float_group, bf16_group = 0, chunk_group = 0;

  /// Fills tile j of a token's activations at out[j * stride].
  void (*quantize_row)(const float* x, int64_t cols, ActivationTile* out, int64_t stride);
  /// out[t * out_stride + r] = sum_c W[r,c] x[t,c] for the rows of panels [begin, end), all tokens. x is laid out in
  /// groups of code_group or float_group tokens.
  void (*matmul_codes)(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out,
                       int64_t out_stride);
  void (*matmul_floats)(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out,
                        int64_t out_stride);
  /// Fills pair j of a token's activations at out[j * stride], rounded to bfloat16.
  void (*bf16_row)(const float* x, int64_t cols, uint32_t* out, int64_t stride) = nullptr;
  /// The product of BF16 weights, or of F16 ones rounded to it, and such activations. Null, like bf16_row, but for
  /// zen4.
  void (*matmul_bf16)(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out,
                      int64_t out_stride) = nullptr;
  /// Fills chunk j of a token's activations at out[j * stride]; cols is a multiple of kChunkCols.
  void (*chunk_row)(const float* x, int64_t cols, ActivationChunk* out, int64_t stride) = nullptr;
  /// The product of weights with integer scales and such activations. Null, like chunk_row, but for zen4.
  void (*matmul_chunks)(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out,
                        int64_t out_stride) = nullptr;
  /// out = x / sqrt(mean(x^2) + eps) * weight
  void (*rms_norm)(const float* x, const float* weight, int64_t n, float eps, float* out);
  /// Rotates x[head_dim] in place, halves split as Hugging Face does: (x[i], x[i + n/2]) by angle (cos[i], sin[i]).
  void (*rope)(float* x, const float* cos, const float* sin, int64_t rotary_dim);
  /// gate[i] = silu(gate[i]) * up[i]
  void (*silu_mul)(float* gate, const float* up, int64_t n);
  void (*add)(float* x, const float* y, int64_t n);  ///< x += y
  /// What positions [part * kAttentionPart, + kAttentionPart) give for each row: out[tokens * heads] records.
  void (*attention_part)(const AttentionArgs& args, int64_t part, float* out);
  /// args.out from the records of all parts that the rows attend to: those of part `first` + i are at
  /// parts[i * stride].
  void (*attention_join)(const AttentionArgs& args, const float* parts, int64_t first, int64_t stride);
  void (*to_f16)(const float* x, int64_t n, uint16_t* out);
  void (*from_f16)(const uint16_t* x, int64_t n, float* out);
  /// Of a row of logits: log(sum(exp(x))), added in binary64. NaN if any is NaN.
  double (*log_sum_exp)(const float* x, int64_t n);

  auto matmul(ActivationForm form) const {
    const decltype(matmul_codes) of_form[] = {matmul_codes, matmul_floats, matmul_bf16, matmul_chunks};
    return of_form[static_cast<int>(form)];
  }
  int group(ActivationForm form) const {
    const int of_form[] = {code_group, float_group, bf16_group, chunk_group};
    return of_form[static_cast<int>(form)];
  }
  /// The form that products with weights of that family are fastest in: at the price of more rounding if it is Bf16 or
  /// Chunks.
  ActivationForm fastest(Family family) const {
    const FamilyTraits t = traits(family);
    if (t.is_float && t.bits == 16 && matmul_bf16 != nullptr) return ActivationForm::Bf16;
    if (t.sub_scales > 0 && matmul_chunks != nullptr) return ActivationForm::Chunks;
    return t.is_float ? ActivationForm::Floats : ActivationForm::Codes;
  }
};

/// The best table for this machine, or the one that the environment variable LOWBIT_ISA names (for tests).
/// Throws Error if that one is unknown or the machine lacks it.
const Kernels& kernels();
/// The table of that name. Throws Error as kernels() does.
const Kernels& kernels_named(std::string_view name);
/// Every table that this machine can run, the portable reference first.
const std::vector<const Kernels*>& all_kernels();

/// Those of `tables` that this machine can run, by their names: the portable one first, the fastest last.
template <typename Table>
std::vector<const Table*> runnable(std::span<const Table> tables) {
  std::vector<const Table*> out;
  for (const Table& table : tables) {
    for (const Kernels* machine : all_kernels()) {
      if (machine->name == table.name) out.push_back(&table);
    }
  }
  return out;
}

/// Of tables that not every instruction set has one of: that of kernels(), or of the one that it is based on.
template <typename Table>
const Table& table_like_kernels(const std::vector<const Table*>& tables) {
  for (const Table* table : tables) {
    if (table->name == kernels().base) return *table;
  }
  return *tables.at(0);
}

/// Prepares activations x[tokens, cols] for products by `k` with w or with any other matrix of as many columns whose
/// weights are floats if w's are, codes if w's are.
/// `scale_cols` columns share a scale where codes are made: kTileCols unless figures are to be compared, or the model
/// asks for it; see block_scales.h.
void prepare(const Kernels& k, const PackedMatrix& w, const float* x, int64_t tokens, Activations& out,
             ThreadPool& pool, int64_t scale_cols = kTileCols);
/// Prepares them in the form that is fastest for `w`, and for other matrices of as many columns with the same
/// fastest().
void prepare_fast(const Kernels& k, const PackedMatrix& w, const float* x, int64_t tokens, Activations& out,
                  ThreadPool& pool);
/// out[tokens, w.rows()] = x W^T, spread over the pool. x was prepared with the same `k`.
void matmul(const Kernels& k, const PackedMatrix& w, const Activations& x, float* out, ThreadPool& pool);

/// Stores a key and a value [head_dim] at `position` of what attention reads.
void store_position(const Kernels& k, KvType type, const float* key, const float* value, int64_t head_dim,
                    int64_t position, uint8_t* keys, uint8_t* values);
/// The attention of several key/value heads, of several sequences, spread over the pool; `room` is set.
void attend(const Kernels& k, std::span<const AttentionArgs> all, ThreadPool& pool);

}  // namespace lowbit

#include "kernel/kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <new>
#include <numeric>
#include <string>

#include "base/error.h"
#include "kernel/block_scales.h"
#include "kernel/tasks.h"

namespace lowbit {
namespace {

#define LOWBIT_TABLE(isa)                                                                                      \
  Kernels {                                                                                                    \
    .name = #isa, .base = #isa, .code_group = isa::kCodeGroup, .float_group = isa::kFloatGroup,                \
    .quantize_row = isa::quantize_row, .matmul_codes = isa::matmul_codes, .matmul_floats = isa::matmul_floats, \
    .rms_norm = isa::rms_norm, .rope = isa::rope, .silu_mul = isa::silu_mul, .add = isa::add_to,               \
    .attention_part = isa::attention_part, .attention_join = isa::attention_join, .to_f16 = isa::to_f16,       \
    .from_f16 = isa::from_f16, .log_sum_exp = isa::log_sum_exp                                                 \
  }

/// As `base`, but for products with coded weights.
#define LOWBIT_TABLE_LIKE(base, isa)    \
  [] {                                  \
    Kernels k = base;                   \
    k.name = #isa;                      \
    k.code_group = isa::kCodeGroup;     \
    k.matmul_codes = isa::matmul_codes; \
    return k;                           \
  }()

/// As `base`, but for all products.
#define LOWBIT_TABLE_OF_PRODUCTS(base, isa)      \
  [] {                                           \
    Kernels like = LOWBIT_TABLE_LIKE(base, isa); \
    like.float_group = isa::kFloatGroup;         \
    like.matmul_floats = isa::matmul_floats;     \
    return like;                                 \
  }()

#if defined(__x86_64__)
Kernels with_faster_forms(Kernels k) {
  k.bf16_group = zen4::kBf16Group;
  k.bf16_row = zen4::bf16_row;
  k.matmul_bf16 = zen4::matmul_bf16;
  k.chunk_group = zen4::kChunkGroup;
  k.chunk_row = zen4::chunk_row;
  k.matmul_chunks = zen4::matmul_chunks;
  return k;
}

/// GCC 12's __builtin_cpu_supports has no name for it. The caller has checked that the system saves AVX registers.
bool has_avxvnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 4 & 1) != 0;
}

/// Clang 14's has no name for this one.
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

/// Tiles hold 8 KiB of state, which Linux saves only for a process that has asked for it.
bool has_amx() {
#if defined(__linux__)
  constexpr unsigned kTiles = 1u << 24, kInt8 = 1u << 25;
  constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kTiles) == 0 || (d & kInt8) == 0) return false;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#elif defined(__aarch64__) && defined(__linux__)
bool has_dotprod() { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }
bool has_i8mm() { return (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0; }
#elif defined(__aarch64__)
// Every 64-bit Mac has dot products.
bool has_dotprod() { return true; }
bool has_i8mm() { return false; }
#endif

}  // namespace

const std::vector<const Kernels*>& all_kernels() {
  static const std::vector<const Kernels*> tables = [] {
    static const Kernels ref = LOWBIT_TABLE(ref);
    std::vector<const Kernels*> out{&ref};
#if defined(__x86_64__)
    static const Kernels avx2 = LOWBIT_TABLE(avx2), avx512 = LOWBIT_TABLE(avx512),
                         avxvnni = LOWBIT_TABLE_LIKE(avx2, avxvnni), amx = LOWBIT_TABLE_LIKE(avx512, amx),
                         zen4 = with_faster_forms(LOWBIT_TABLE_OF_PRODUCTS(avx512, zen4));
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c() &&
        __builtin_cpu_supports("bmi2")) {
      out.push_back(&avx2);
      if (has_avxvnni()) out.push_back(&avxvnni);
      if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
          __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi")) {
        // Not the last, which is the default: see docs/performance.md, "AMX".
        if (has_amx()) out.push_back(&amx);
        out.push_back(&avx512);
        if (__builtin_cpu_is("amd") && __builtin_cpu_supports("avx512bf16")) {
          out.push_back(&zen4);  // Zen 5 too, where nothing was measured
        }
      }
    }
#elif defined(__aarch64__)
    static const Kernels neon = LOWBIT_TABLE(neon), dotprod = LOWBIT_TABLE_LIKE(neon, dotprod),
                         i8mm = LOWBIT_TABLE_LIKE(neon, i8mm);
    out.push_back(&neon);
    if (has_dotprod()) out.push_back(&dotprod);
    if (has_dotprod() && has_i8mm()) out.push_back(&i8mm);
#endif
    return out;
  }();
  return tables;
}

const Kernels& kernels_named(std::string_view name) {
  std::string known;
  for (const Kernels* k : all_kernels()) {
    if (k->name == name) return *k;
    known += (known.empty() ? "" : ", ") + std::string(k->name);
  }
  fail("LOWBIT_ISA={}: this machine has {}", name, known);
}

const Kernels& kernels() {
  static const Kernels& picked = [&]() -> const Kernels& {
    const char* wanted = std::getenv("LOWBIT_ISA");
    return wanted == nullptr || *wanted == '\0' ? *all_kernels().back() : kernels_named(wanted);
  }();
  return picked;
}

void Activations::Free::operator()(std::byte* p) const { std::free(p); }

namespace {

/// Room for activations of that form, and `put(row, group, i, width)` for each token: token i of the `width` tokens
/// that lie together from `group` on.
template <typename Put>
void prepare_rows(const Kernels& k, ActivationForm form, const float* x, int64_t tokens, int64_t cols, Activations& out,
                  ThreadPool& pool, const Put& put) {
  const int64_t token_bytes = activation_bytes(form, cols);
  constexpr size_t kAlignment = 4096;  // kernels choose where their stores lie by where activations do
  const size_t bytes = (static_cast<size_t>(tokens * token_bytes) + kAlignment - 1) / kAlignment * kAlignment;
  if (bytes > out.capacity) {
    out.data.reset(static_cast<std::byte*>(std::aligned_alloc(kAlignment, bytes)));
    out.capacity = out.data == nullptr ? 0 : bytes;
    if (out.data == nullptr) throw std::bad_alloc();
  }
  const int group = k.group(form);
  out.form = form;
  out.view = {out.data.get(), tokens, cols, group};

  std::byte* data = out.data.get();
  // Of these forms tokens share no cache lines.
  const bool in_pieces = form == ActivationForm::Codes || form == ActivationForm::Chunks;
  const int64_t piece = in_pieces ? std::gcd(group, 4) : group;  // tokens of a task, of one group
  pool.run((tokens + piece - 1) / piece, [&](int64_t p, int) {
    const int64_t first = p * piece / group * group, width = std::min<int64_t>(group, tokens - first);
    const int64_t begin = p * piece - first, end = std::min(width, begin + piece);
    for (int64_t i = begin; i < end; ++i) put(x + (first + i) * cols, data + first * token_bytes, i, width);
  });
}

/// Of codes, by `quantize(row, tiles, stride)`.
template <typename Quantize>
void prepare_codes(const Kernels& k, const float* x, int64_t tokens, int64_t cols, Activations& out, ThreadPool& pool,
                   const Quantize& quantize) {
  prepare_rows(k, ActivationForm::Codes, x, tokens, cols, out, pool,
               [&](const float* row, std::byte* group, int64_t i, int64_t width) {
                 quantize(row, reinterpret_cast<ActivationTile*>(group) + i, width);
               });
}

}  // namespace

void prepare(const Kernels& k, const PackedMatrix& w, const float* x, int64_t tokens, Activations& out,
             ThreadPool& pool, int64_t scale_cols) {
  const int64_t cols = w.cols();
  if (traits(w.view().family).is_float) {
    prepare_rows(k, ActivationForm::Floats, x, tokens, cols, out, pool,
                 [cols](const float* row, std::byte* group, int64_t i, int64_t width) {
                   float* to = reinterpret_cast<float*>(group) + i;
                   for (int64_t c = 0; c < cols; ++c) to[c * width] = row[c];
                 });
  } else if (scale_cols == kTileCols) {
    prepare_codes(k, x, tokens, cols, out, pool,
                  [&](const float* row, ActivationTile* to, int64_t stride) { k.quantize_row(row, cols, to, stride); });
  } else {
    prepare_codes(k, x, tokens, cols, out, pool, [&](const float* row, ActivationTile* to, int64_t stride) {
      quantize_row_in_blocks(row, cols, scale_cols, to, stride);
    });
  }
}

void prepare_fast(const Kernels& k, const PackedMatrix& w, const float* x, int64_t tokens, Activations& out,
                  ThreadPool& pool) {
  const ActivationForm form = k.fastest(w.view().family);
  const int64_t cols = w.cols();
  if (form == ActivationForm::Bf16) {
    prepare_rows(k, form, x, tokens, cols, out, pool,
                 [&](const float* row, std::byte* group, int64_t i, int64_t width) {
                   k.bf16_row(row, cols, reinterpret_cast<uint32_t*>(group) + i, width);
                 });
  } else if (form == ActivationForm::Chunks) {
    prepare_rows(k, form, x, tokens, cols, out, pool,
                 [&](const float* row, std::byte* group, int64_t i, int64_t width) {
                   k.chunk_row(row, cols, reinterpret_cast<ActivationChunk*>(group) + i, width);
                 });
  } else {
    prepare(k, w, x, tokens, out, pool);
  }
}

void prepare_on_scale(const Kernels& k, const PackedMatrix& w, const float* x, int64_t tokens, Activations& out,
                      ThreadPool& pool, float scale) {
  prepare_codes(k, x, tokens, w.cols(), out, pool, [&](const float* row, ActivationTile* to, int64_t stride) {
    quantize_row_on_scale(row, w.cols(), scale, to, stride);
  });
}

void matmul(const Kernels& k, const PackedMatrix& w, const Activations& x, float* out, ThreadPool& pool) {
  const PackedView& view = w.view();
  const bool in_every_table = x.form == ActivationForm::Codes || x.form == ActivationForm::Floats;
  const bool fits = in_every_table ? (x.form == ActivationForm::Floats) == traits(view.family).is_float
                                   : x.form == k.fastest(view.family);
  if (x.view.cols != w.cols() || !fits || x.view.group != k.group(x.form)) {
    throw std::logic_error("activations prepared for another kind of matrix");
  }
  const auto multiply = k.matmul(x.form);
  const Tasks tasks = share_out(w.panels(), x.view.tokens, pool.size());
  pool.run(tasks.count(), [&](int64_t task, int) {
    const auto [begin, end] = panels_of(tasks, task / tasks.token_ranges, 0, w.panels());
    const int64_t first = task % tasks.token_ranges * tasks.tokens,
                  last = std::min(x.view.tokens, first + tasks.tokens);
    if (begin < end) multiply(view, begin, end, tokens_of(x, first, last), out + first * w.rows(), w.rows());
  });
}

}  // namespace lowbit

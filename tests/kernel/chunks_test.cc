#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "kernel/support.h"

namespace lowbit {
namespace {

using test::random_floats;
using test::random_weights;
using test::same_bits;

std::vector<const Kernels*> with_chunks() { return test::kernels_with(ActivationForm::Chunks); }

std::vector<float> product(const Kernels& k, const PackedMatrix& w, const std::vector<float>& x, int64_t tokens,
                           ThreadPool& pool) {
  return test::fast_product(ActivationForm::Chunks, k, w, x, tokens, pool);
}

/// 256 activations: x[i] is about scale * codes[i] / 2^shift[i / 32].
struct Rounded {
  int codes[kChunkCols], shift[kChunkTiles] = {};
  float scale = 0;
  int sum_power = 0;  ///< sums that are multiplied by minima are in units of scale / 2^sum_power
};

int64_t shifted(int64_t x, int shift) {
  return shift <= 0 ? x * (int64_t{1} << -shift) : (x + (int64_t{1} << shift) / 2) >> shift;
}

int64_t sum_of(const Rounded& x, int begin, int count) {
  return std::accumulate(x.codes + begin, x.codes + begin + count, 0);
}

/// Whether all sums of tiles and of their halves fit into 16 bits.
bool sums_fit(const Rounded& x, int power) {
  for (int begin = 0; begin < kChunkCols; begin += 16) {
    for (const int count : {16, 32}) {
      if (begin % count != 0) continue;
      if (shifted(std::abs(sum_of(x, begin, count)), x.shift[begin / kTileCols] - power) > 32767) return false;
    }
  }
  return true;
}

Rounded rounded(const float* x) {
  Rounded out{};
  const float most =
      std::fabs(*std::max_element(x, x + kChunkCols, [](float a, float b) { return std::fabs(a) < std::fabs(b); }));
  if (std::any_of(x, x + kChunkCols, [](float a) { return std::isnan(a); })) {
    out.scale = std::nanf("");
    return out;
  }
  if (most < 0x1p-100F) return out;
  out.scale = 2 * (most / 127);
  if (std::isinf(most)) return out;
  for (int tile = 0; tile < kChunkTiles; ++tile) {
    const float* from = x + tile * kTileCols;
    float own = 0;
    for (int i = 0; i < kTileCols; ++i) own = std::max(own, std::fabs(from[i]));
    int& shift = out.shift[tile];
    if (own == 0) continue;
    for (shift = 1; shift < kMostShift && std::ldexp(own, shift) <= most;) ++shift;
    const auto round_all = [&](float inverse, int limit) {
      int largest = 0;
      for (int half = 0; half < 2; ++half) {
        int sum = 0;
        for (int i = 16 * half; i < 16 * half + 16; ++i) {
          const int code = static_cast<int>(std::nearbyint(from[i] * inverse));
          out.codes[tile * kTileCols + i] = std::clamp(code, -limit, limit);
          sum += std::abs(out.codes[tile * kTileCols + i]);
        }
        largest = std::max(largest, sum);
      }
      return largest;
    };
    const float inverse = std::ldexp(127 / most, shift - 1);
    if (round_all(inverse, 127) > kMostHalfSum) {
      --shift;
      round_all(inverse / 2, 63);
    }
  }
  for (out.sum_power = kMostShift; !sums_fit(out, out.sum_power);) --out.sum_power;
  return out;
}

/// The integers of one row's chunk.
struct RowChunk {
  FamilyTraits t;
  int codes[kChunkCols], scale[2 * kChunkTiles], minimum[2 * kChunkTiles];
  float d, dmin;
};

RowChunk read_row(const PackedMatrix& w, int64_t row, int64_t chunk) {
  const PackedView& view = w.view();
  const FamilyTraits t = traits(view.family);
  const int r = static_cast<int>(row % kPanelRows);
  const uint8_t* at =
      view.data + static_cast<uint64_t>(row / kPanelRows) * view.panel_bytes + chunk * chunk_bytes(t, kChunkTiles, 0);
  const auto half = [](const uint8_t* p) {
    uint16_t bits;
    std::memcpy(&bits, p, sizeof bits);
    return f16_to_f32(bits);
  };
  RowChunk out{t, {}, {}, {}, half(at + d_at(t) + 2 * r), t.minima ? half(at + 2 * kPanelRows + 2 * r) : 0};
  const uint8_t* vectors = at + header_bytes(t, kChunkTiles, 0);
  for (int tile = 0; tile < kChunkTiles; ++tile, vectors += tile_bytes(t)) {
    for (int c = 0; c < kTileCols; ++c) {
      const int code = code_at(t.bits, vectors, r, c);
      const int offset = has_offset(t) ? 1 << offset_shift(t) : 0;
      out.codes[tile * kTileCols + c] = (t.table ? view.table[code] : code) - offset;
    }
    for (int s = 0; s < t.sub_scales; ++s) {
      out.scale[tile * t.sub_scales + s] = sub_scale(t, at, tile, s, r);
      if (t.minima) out.minimum[tile * t.sub_scales + s] = sub_minimum(t, at, kChunkTiles, tile, s, r);
    }
  }
  return out;
}

/// total + a chunk of a row by a token, as chunks_zen4.cc has it.
float add_chunk(const RowChunk& w, const Rounded& x, float total) {
  const int parts = w.t.sub_scales, width = kTileCols / parts;
  const bool negated = w.t.bits == 3;
  double shifted_off = 0;
  for (const int shift : x.shift) shifted_off += (1 - std::ldexp(1.0, -shift)) / 2;
  int64_t sum = std::lround(shifted_off), less = 0;
  for (int tile = 0; tile < kChunkTiles; ++tile) {
    int64_t scaled = 0;
    for (int part = tile * parts; part < (tile + 1) * parts; ++part) {
      int64_t dot = 0;
      for (int c = part * width; c < (part + 1) * width; ++c) dot += w.codes[c] * x.codes[c];
      scaled += (negated ? -w.scale[part] : w.scale[part]) * dot;
      less += w.minimum[part] * shifted(sum_of(x, part * width, width), x.shift[tile] - x.sum_power);
    }
    sum += scaled >> x.shift[tile];
  }
  total = std::fma(static_cast<float>(sum) * (negated ? -w.d : w.d), x.scale, total);
  if (!w.t.minima) return total;
  return std::fma(-(static_cast<float>(less) * w.dmin), std::ldexp(x.scale, -x.sum_power), total);
}

/// One output after another.
std::vector<float> expected(const PackedMatrix& w, const std::vector<float>& x, int64_t tokens) {
  const int64_t chunks = w.cols() / kChunkCols;
  std::vector<float> out(static_cast<size_t>(tokens * w.rows()));
  for (int64_t c = 0; c < chunks; ++c) {
    std::vector<Rounded> activations;
    for (int64_t t = 0; t < tokens; ++t) activations.push_back(rounded(x.data() + t * w.cols() + c * kChunkCols));
    for (int64_t r = 0; r < w.rows(); ++r) {
      const RowChunk row = read_row(w, r, c);
      for (int64_t t = 0; t < tokens; ++t) {
        float& total = out[static_cast<size_t>(t * w.rows() + r)];
        total = add_chunk(row, activations[static_cast<size_t>(t)], total);
      }
    }
  }
  return out;
}

class Chunks : public testing::TestWithParam<const Encoding*> {
 protected:
  void SetUp() override {
    if (with_chunks().empty()) GTEST_SKIP() << "no instruction set of this machine has them";
  }
  /// NaN are all the same.
  static void expect_same(std::vector<float> a, std::vector<float> b, const std::string& what) {
    for (std::vector<float>* all : {&a, &b}) {
      for (float& v : *all) v = std::isnan(v) ? std::nanf("") : v;
    }
    EXPECT_TRUE(same_bits(a, b)) << what;
  }
  ThreadPool pool_{2};
};

TEST_P(Chunks, ProductsAreThoseOfTheDefinition) {
  const Encoding& e = *GetParam();
  struct Shape {
    int64_t rows, cols;
  };
  for (const auto [rows, cols] : {Shape{1, 256}, {15, 512}, {40, 768}, {150, 256}, {17, 2304}, {90, 4352}}) {
    const auto data = random_weights(e, rows, cols, 1);
    const PackedMatrix w = pack_matrix(e, rows, cols, data.data(), nullptr, pool_);
    const int64_t most = rows == 40 ? 400 : 109;  // 400 are shared out too
    const auto x = random_floats(most * cols, 2);
    const auto all = expected(w, x, most);
    for (const int64_t tokens : {1, 2, 3, 4, 6, 8, 9, 11, 12, 13, 24, 25, 40, 48, 49, 54, 109, 400}) {
      if (tokens > most) continue;
      const std::vector<float> some(x.begin(), x.begin() + tokens * cols);
      const std::vector<float> want(all.begin(), all.begin() + tokens * rows);
      for (const Kernels* k : with_chunks()) {
        const std::string what = fmt::format("{} {} {}x{} tokens {}", k->name, e.name, rows, cols, tokens);
        expect_same(product(*k, w, some, tokens, pool_), want, what);
        Activations a;
        prepare_fast(*k, w, some.data(), tokens, a, pool_);
        std::vector<float> out(want.size(), -777.0F);
        k->matmul_chunks(w.view(), 0, w.panels(), a.view, out.data(), rows);  // several panels at a time
        expect_same(out, want, what + ", one task");
      }
    }
  }
}

/// One token by panels of so many bytes that kernels read several at once.
TEST_P(Chunks, LongPanelsTogether) {
  const Encoding& e = *GetParam();
  const int64_t rows = 150, cols = 16640;
  const auto data = random_weights(e, rows, cols, 3);
  const PackedMatrix w = pack_matrix(e, rows, cols, data.data(), nullptr, pool_);
  const auto x = random_floats(cols, 4);
  const auto want = expected(w, x, 1);
  for (const Kernels* k : with_chunks()) {
    Activations a;
    prepare_fast(*k, w, x.data(), 1, a, pool_);
    for (const int64_t panels : {w.panels(), int64_t{5}, int64_t{3}}) {
      std::vector<float> out(want.size());
      k->matmul_chunks(w.view(), 0, panels, a.view, out.data(), rows);
      const auto some = static_cast<std::ptrdiff_t>(std::min(rows, panels * kPanelRows));
      expect_same({out.begin(), out.begin() + some}, {want.begin(), want.begin() + some}, std::string(e.name));
    }
  }
}

/// A tile whose halves have codes that add up to `sum`, where the greatest activation of all is 1.
void fill_half(float* x, int sum, float sign) {
  x[0] = sign;
  for (int i = 1; i < 16; ++i)
    x[i] = sign * static_cast<float>((sum - 127) / 15 + (i <= (sum - 127) % 15 ? 1 : 0)) / 127;
}

/// Tokens whose dots with the largest codes are as large as can be, tiles of zeros, and every shift there is.
std::vector<float> extreme_tokens(int64_t tokens, int64_t cols) {
  std::vector<float> x(static_cast<size_t>(tokens * cols));
  for (int64_t i = 0; i < tokens * cols; ++i) {
    const int64_t token = i / cols, col = i % cols, tile = i / kTileCols % kChunkTiles;
    const float sign = token % 2 == 0 ? 1 : -1;
    const float size = token % 3 == 0 ? 1 : tile == 7 ? 0 : std::ldexp(1.0F, static_cast<int>(-2 * tile));
    if (token % 5 < 2) {  // the most that codes may add up to, or one more, which has them halved
      if (col % 16 == 0) fill_half(&x[static_cast<size_t>(i)], kMostHalfSum + static_cast<int>(token % 5), sign);
    } else {
      x[static_cast<size_t>(i)] = sign * size * (col % 2 == 0 ? 1 : 0.98F);
    }
  }
  return x;
}

/// The largest codes and scales: dots that fill 16 bits.
TEST_P(Chunks, HoldAtTheExtremes) {
  const Encoding& e = *GetParam();
  const int64_t rows = 16, cols = 512;
  for (const int extreme : {0, 1, 2, 3}) {
    std::vector<std::byte> data(e.bytes(static_cast<uint64_t>(rows * cols)));
    for (size_t at = 0; at < data.size(); at += static_cast<size_t>(e.block_bytes)) {
      BlockHeader header;
      uint8_t codes[kMaxBlock];
      e.unpack(data.data() + at, header, codes);
      header.d = 0x3c00;
      header.dmin = e.has_min ? 0x3c00 : 0;
      header.scale.fill(static_cast<int8_t>(extreme < 2 ? e.highest_scale : e.lowest_scale));
      header.min.fill(static_cast<uint8_t>(e.highest_min));
      std::fill_n(codes, e.block, extreme % 2 == 1 ? static_cast<uint8_t>(e.levels.size() - 1) : uint8_t{0});
      e.pack(header, codes, data.data() + at);
    }
    const PackedMatrix w = pack_matrix(e, rows, cols, data.data(), nullptr, pool_);
    for (const int64_t tokens : {1, 12, 61}) {
      const std::vector<float> x = extreme_tokens(tokens, cols);
      for (const Kernels* k : with_chunks()) {
        expect_same(product(*k, w, x, tokens, pool_), expected(w, x, tokens), fmt::format("{} {}", e.name, extreme));
      }
    }
  }
}

TEST_P(Chunks, AreRefusedForOtherWeights) {
  const Encoding &e = *GetParam(), &other = encoding(EncodingId::Q4_0);
  const auto a = random_weights(e, 16, 256, 9), b = random_weights(other, 16, 256, 9);
  const PackedMatrix w = pack_matrix(e, 16, 256, a.data(), nullptr, pool_);
  const PackedMatrix without = pack_matrix(other, 16, 256, b.data(), nullptr, pool_);
  const auto x = random_floats(256, 10);
  std::vector<float> out(16);
  for (const Kernels* k : with_chunks()) {
    Activations chunks, codes;
    prepare_fast(*k, w, x.data(), 1, chunks, pool_);
    EXPECT_THROW(matmul(*k, without, chunks, out.data(), pool_), std::logic_error);
    EXPECT_THROW(matmul(*all_kernels().front(), w, chunks, out.data(), pool_), std::logic_error);
    prepare_fast(*all_kernels().front(), w, x.data(), 1, codes, pool_);
    EXPECT_EQ(codes.form, ActivationForm::Codes);
  }
}

TEST_P(Chunks, ZerosAndWhatIsNotFinite) {
  const Encoding& e = *GetParam();
  const int64_t rows = 20, cols = 512, tokens = 5;
  const auto data = random_weights(e, rows, cols, 5);
  const PackedMatrix w = pack_matrix(e, rows, cols, data.data(), nullptr, pool_);
  std::vector<float> x = random_floats(tokens * cols, 6);
  std::fill_n(x.begin(), cols, 0.0F);
  std::fill_n(x.begin() + cols, cols, 1e-40F);  // below what can be divided by
  x[static_cast<size_t>(2 * cols + 300)] = std::nanf("");
  x[static_cast<size_t>(3 * cols + 70)] = -std::numeric_limits<float>::infinity();
  std::fill_n(x.begin() + 4 * cols, 256, 3e38F);
  for (const Kernels* k : with_chunks()) {
    const auto out = product(*k, w, x, tokens, pool_);
    for (int64_t r = 0; r < rows; ++r) {
      EXPECT_EQ(out[static_cast<size_t>(r)], 0);
      EXPECT_EQ(out[static_cast<size_t>(rows + r)], 0);
      EXPECT_TRUE(std::isnan(out[static_cast<size_t>(2 * rows + r)])) << "a NaN must show";
      EXPECT_FALSE(std::isfinite(out[static_cast<size_t>(3 * rows + r)])) << "an infinity must show";
    }
    expect_same(out, expected(w, x, tokens), std::string(e.name));
  }
}

/// Against binary64 on the activations themselves: as near as 8 bits allow, outliers or not.
TEST_P(Chunks, AreCloseToTheProduct) {
  const Encoding& e = *GetParam();
  const int64_t rows = 64, cols = 2048, tokens = 4;
  const auto data = random_weights(e, rows, cols, 7);
  const auto weights = test::decoded(e, data, rows * cols);
  const PackedMatrix w = pack_matrix(e, rows, cols, data.data(), nullptr, pool_);
  const auto x = random_floats(tokens * cols, 8);
  const auto error_of = [&](const std::vector<float>& out) {
    double error = 0, total = 0;
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t r = 0; r < rows; ++r) {
        double exact = 0;
        for (int64_t c = 0; c < cols; ++c) {
          exact +=
              static_cast<double>(weights[static_cast<size_t>(r * cols + c)]) * x[static_cast<size_t>(t * cols + c)];
        }
        error += std::pow(out[static_cast<size_t>(t * rows + r)] - exact, 2);
        total += exact * exact;
      }
    }
    return std::sqrt(error / total);
  };
  for (const Kernels* k : with_chunks()) {
    const double chunks = error_of(product(*k, w, x, tokens, pool_));
    const double fine = error_of(test::product(*k, w, x, tokens, pool_));
    EXPECT_LT(chunks, 0.02) << e.name;
    EXPECT_LT(chunks, 2 * fine) << e.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Chunks, testing::ValuesIn([] {
                           std::vector<const Encoding*> out;
                           for (const Encoding* e : test::kernel_encodings()) {
                             if (e->block == kChunkCols) out.push_back(e);
                           }
                           return out;
                         }()),
                         [](const auto& tested) { return std::string(tested.param->name); });

}  // namespace
}  // namespace lowbit

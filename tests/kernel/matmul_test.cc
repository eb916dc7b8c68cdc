#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "kernel/support.h"

namespace lowbit {
namespace {

using test::decoded;
using test::kernel_encodings;
using test::product;
using test::random_floats;
using test::random_weights;
using test::same_bits;

struct Shape {
  int64_t rows, cols;
};

/// Odd rows, part chunks, more columns than kernels take between two visits of the outputs.
std::vector<Shape> shapes(const Encoding& e) {
  if (e.kind == EncodingKind::Float) return {{1, 1}, {15, 7}, {16, 33}, {40, 200}, {150, 64}, {17, 2100}};
  if (e.block == 32) return {{1, 32}, {15, 64}, {16, 256}, {40, 288}, {17, 576}, {50, 1312}, {17, 2112}};
  return {{1, 256}, {15, 512}, {16, 256}, {40, 768}, {17, 2304}};
}

class EveryEncoding : public testing::TestWithParam<const Encoding*> {
 protected:
  ThreadPool pool_{2};
};

TEST_P(EveryEncoding, PacksWithoutLoss) {
  const Encoding& e = *GetParam();
  for (const auto [rows, cols] : shapes(e)) {
    const auto data = random_weights(e, rows, cols, 1);
    const PackedMatrix w = pack_matrix(e, rows, cols, data.data(), nullptr, pool_);
    EXPECT_EQ(&w.source(), &e);
    EXPECT_THAT(unpack_matrix(w), testing::Pointwise(testing::Eq(), decoded(e, data, rows * cols)));
  }
}

TEST_P(EveryEncoding, TakesRowsInTheOrderAsked) {
  const Encoding& e = *GetParam();
  const int64_t rows = 37, cols = 256;
  const auto data = random_weights(e, rows, cols, 2);
  std::vector<int64_t> order(rows);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(3));
  const PackedMatrix w = pack_matrix(e, rows, cols, data.data(), order.data(), pool_);
  const auto plain = decoded(e, data, rows * cols), mixed = unpack_matrix(w);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      ASSERT_EQ(mixed[static_cast<size_t>(r * cols + c)],
                plain[static_cast<size_t>(order[static_cast<size_t>(r)] * cols + c)]);
    }
  }
}

TEST_P(EveryEncoding, TakesLittleMoreMemoryThanTheFile) {
  const Encoding& e = *GetParam();
  const auto data = random_weights(e, 64, 1024, 4);
  const PackedMatrix w = pack_matrix(e, 64, 1024, data.data(), nullptr, pool_);
  EXPECT_LE(static_cast<double>(w.bytes()), 1.03 * static_cast<double>(data.size()));
}

/// As files have them whose groups are longer than a tile; the last row keeps scales of its own.
std::vector<std::byte> grouped_weights(const Encoding& e, int64_t rows, int64_t cols, int64_t group_tiles) {
  std::vector<std::byte> data = random_weights(e, rows + 1, cols, 12);
  const int64_t tiles = cols / kTileCols;
  for (int64_t i = 0; i < rows * tiles; ++i) {
    std::byte* block = data.data() + i * e.block_bytes;
    BlockHeader own, first;
    uint8_t codes[kMaxBlock], ignored[kMaxBlock];
    e.unpack(block - i % tiles % group_tiles * e.block_bytes, first, ignored);
    e.unpack(block, own, codes);
    e.pack(first, codes, block);
  }
  return data;
}

TEST_P(EveryEncoding, TilesShareScalesThatAreTheSame) {
  const Encoding& e = *GetParam();
  if (e.block != kTileCols) return;
  const int64_t rows = 19;
  for (const int shared : {1, 2, 3}) {
    for (const int64_t cols : {32 * 3, 32 * 16, 32 * 11, 32 * 45}) {
      const auto data = grouped_weights(e, rows, cols, int64_t{1} << shared);
      const PackedMatrix w = pack_matrix(e, rows, cols, data.data(), nullptr, pool_);
      const PackedMatrix apart = pack_matrix(e, rows + 1, cols, data.data(), nullptr, pool_);
      EXPECT_EQ(apart.view().shared, 0);
      if (cols / kTileCols > 1 << shared) {
        EXPECT_EQ(w.view().shared, shared);
        EXPECT_EQ(packed_bytes(e, rows, cols, int64_t{kTileCols} << shared), w.bytes());
        EXPECT_LT(w.bytes(), apart.bytes());
      }
      const auto row_bytes = static_cast<int64_t>(e.bytes(static_cast<uint64_t>(cols)));
      const std::vector<std::byte> first_rows(data.begin(), data.end() - row_bytes);
      EXPECT_THAT(unpack_matrix(w), testing::Pointwise(testing::Eq(), decoded(e, first_rows, rows * cols)));
      for (const int64_t tokens : {1, 3, 9, 61}) {
        const auto x = random_floats(tokens * cols, 13);
        const auto with_last = product(*all_kernels().front(), apart, x, tokens, pool_);
        std::vector<float> want;
        for (int64_t t = 0; t < tokens; ++t) {
          want.insert(want.end(), with_last.begin() + t * (rows + 1), with_last.begin() + t * (rows + 1) + rows);
        }
        for (const Kernels* k : all_kernels()) {
          EXPECT_TRUE(same_bits(product(*k, w, x, tokens, pool_), want)) << k->name << " " << e.name << " " << shared;
        }
      }
    }
  }
}

/// The reference against binary64 on the very weights and quantized activations.
TEST_P(EveryEncoding, ReferenceIsExactUpToRounding) {
  const Encoding& e = *GetParam();
  const Kernels& ref = *all_kernels().front();
  for (const auto [rows, cols] : shapes(e)) {
    const int64_t tokens = 3, tiles = (cols + kTileCols - 1) / kTileCols;
    const auto data = random_weights(e, rows, cols, 5);
    const auto weights = decoded(e, data, rows * cols);
    const PackedMatrix w = pack_matrix(e, rows, cols, data.data(), nullptr, pool_);
    std::vector<float> x = random_floats(tokens * cols, 6);
    const auto out = product(ref, w, x, tokens, pool_);
    if (e.kind != EncodingKind::Float) {
      std::vector<ActivationTile> quantized(static_cast<size_t>(tiles));
      for (int64_t t = 0; t < tokens; ++t) {
        ref.quantize_row(x.data() + t * cols, cols, quantized.data(), 1);
        for (int64_t c = 0; c < cols; ++c) {
          const ActivationTile& tile = quantized[static_cast<size_t>(c / kTileCols)];
          // 127 units at most and 7 bits of code: rounds once, so allow for it below.
          x[static_cast<size_t>(t * cols + c)] = tile.scale * tile.codes[c % kTileCols];
        }
      }
    }
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t r = 0; r < rows; ++r) {
        double exact = 0, magnitude = 0;
        for (int64_t c = 0; c < cols; ++c) {
          const double term =
              static_cast<double>(weights[static_cast<size_t>(r * cols + c)]) * x[static_cast<size_t>(t * cols + c)];
          exact += term;
          magnitude += std::abs(term);
        }
        const double steps = static_cast<double>(e.kind == EncodingKind::Float ? cols : tiles) + 8;
        // Minima are taken off a larger product: its rounding counts, at most 16 times the terms left.
        const double slack = e.has_min ? 16 : 1;
        EXPECT_NEAR(out[static_cast<size_t>(t * rows + r)], exact, 0x1p-24 * (steps + slack) * magnitude + 1e-30)
            << e.name << " " << rows << "x" << cols << " row " << r;
      }
    }
  }
}

TEST_P(EveryEncoding, EveryInstructionSetGivesTheSameBits) {
  const Encoding& e = *GetParam();
  const Kernels& ref = *all_kernels().front();
  for (const auto [rows, cols] : shapes(e)) {
    const auto data = random_weights(e, rows, cols, 7);
    const PackedMatrix w = pack_matrix(e, rows, cols, data.data(), nullptr, pool_);
    const int64_t most = 109;  // beyond what every kernel takes as few, and more groups than one
    const auto x = random_floats(most * cols, 8);
    const auto expected = product(ref, w, x, most, pool_);
    for (const Kernels* k : all_kernels()) {
      for (int64_t tokens : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 24, 25, 40, 48, 49, 109}) {
        const std::vector<float> some(x.begin(), x.begin() + tokens * cols);
        const std::vector<float> want(expected.begin(), expected.begin() + tokens * rows);
        EXPECT_TRUE(same_bits(product(*k, w, some, tokens, pool_), want))
            << k->name << " " << e.name << " " << rows << "x" << cols << " tokens " << tokens;
      }
    }
  }
}

/// As one task has them where weights are many: kernels take several panels at a time.
TEST_P(EveryEncoding, PanelsTogetherGiveTheSameBits) {
  const Encoding& e = *GetParam();
  const int64_t cols = e.kind == EncodingKind::Float ? 2100 : e.block == kTileCols ? 544 : 512;
  for (const int64_t rows : {40, 150}) {
    const bool together = rows == 150 && e.block == kTileCols;  // with shared scales
    const auto data = together ? grouped_weights(e, rows, cols, 2) : random_weights(e, rows, cols, 14);
    const PackedMatrix w = pack_matrix(e, rows, cols, data.data(), nullptr, pool_);
    for (const int64_t tokens : {1, 2, 7, 16, 40, 109}) {
      const auto x = random_floats(tokens * cols, 15);
      const auto want = product(*all_kernels().front(), w, x, tokens, pool_);
      for (const Kernels* k : all_kernels()) {
        Activations a;
        prepare(*k, w, x.data(), tokens, a, pool_);
        std::vector<float> out(want.size());
        k->matmul(a.form)(w.view(), 0, w.panels(), a.view, out.data(), rows);
        EXPECT_TRUE(same_bits(out, want)) << k->name << " " << e.name << " rows " << rows << " tokens " << tokens;
      }
    }
  }
}

/// One token by panels of so many bytes that kernels read several at once, and what is left over.
TEST_P(EveryEncoding, LongPanelsTogetherGiveTheSameBits) {
  const Encoding& e = *GetParam();
  const int64_t rows = 150, cols = e.kind == EncodingKind::Float ? 2100 : e.block == kTileCols ? 5152 : 8448;
  for (const bool together : {false, true}) {  // with shared scales
    if (together && e.block != kTileCols) continue;
    const auto data = together ? grouped_weights(e, rows, cols, 2) : random_weights(e, rows, cols, 16);
    const PackedMatrix w = pack_matrix(e, rows, cols, data.data(), nullptr, pool_);
    if (e.bits_per_weight() > 3) {
      EXPECT_GT(w.view().panel_bytes, kShortPanel);
    }
    const auto x = random_floats(cols, 17);
    const auto want = product(*all_kernels().front(), w, x, 1, pool_);
    for (const Kernels* k : all_kernels()) {
      Activations a;
      prepare(*k, w, x.data(), 1, a, pool_);
      for (const int64_t panels : {w.panels(), int64_t{5}, int64_t{3}}) {
        std::vector<float> out(want.size());
        k->matmul(a.form)(w.view(), 0, panels, a.view, out.data(), rows);
        const auto some = static_cast<std::ptrdiff_t>(std::min(rows, panels * kPanelRows));
        EXPECT_TRUE(same_bits(std::vector<float>(out.begin(), out.begin() + some),
                              std::vector<float>(want.begin(), want.begin() + some)))
            << k->name << " " << e.name << " " << panels;
      }
    }
  }
}

/// So many that they are shared out too, scaled as llama.cpp does as well, and some not finite.
TEST_P(EveryEncoding, ManyTokensOfAnyKind) {
  const Encoding& e = *GetParam();
  const int64_t rows = 40, cols = e.kind == EncodingKind::Float ? 77 : 512, tokens = 400;
  const auto data = random_weights(e, rows, cols, 18);
  const PackedMatrix w = pack_matrix(e, rows, cols, data.data(), nullptr, pool_);
  auto x = random_floats(tokens * cols, 19);
  x[static_cast<size_t>(3 * cols + 70)] = std::nanf("");
  std::fill_n(x.begin() + 200 * cols, cols, 0.0f);
  for (const int64_t scale_cols : {int64_t{kTileCols}, int64_t{256}}) {
    std::vector<float> want;
    for (const Kernels* k : all_kernels()) {
      Activations a;
      std::vector<float> out(static_cast<size_t>(tokens * rows), -777.0f);
      prepare(*k, w, x.data(), tokens, a, pool_, scale_cols);
      matmul(*k, w, a, out.data(), pool_);
      for (int64_t i = 3 * rows; i < 4 * rows; ++i) {
        EXPECT_TRUE(std::isnan(out[static_cast<size_t>(i)])) << k->name;
        out[static_cast<size_t>(i)] = 0;  // which NaN is of no matter
      }
      if (want.empty()) want = out;
      EXPECT_TRUE(same_bits(out, want)) << k->name << " " << e.name << " " << scale_cols;
    }
  }
}

/// The largest codes and scales everywhere: sums that would saturate in 16 bits.
TEST_P(EveryEncoding, HoldsAtTheExtremes) {
  const Encoding& e = *GetParam();
  if (e.kind == EncodingKind::Float) return;  // no codes
  const int64_t rows = 16, cols = 512;
  for (const int extreme : {0, 1, 2, 3}) {
    const bool top = extreme % 2 == 1;
    const int scales = extreme < 2 ? 0xff : 0;  // of six bits: the largest, the most negative
    std::vector<std::byte> data(e.bytes(static_cast<uint64_t>(rows * cols)));
    for (size_t at = 0; at < data.size(); at += static_cast<size_t>(e.block_bytes)) {
      std::memset(data.data() + at, scales, static_cast<size_t>(e.block_bytes));
      BlockHeader header;
      uint8_t codes[kMaxBlock];
      e.unpack(data.data() + at, header, codes);
      const bool even = at / static_cast<size_t>(e.block_bytes) % 2 == 0;
      header.d = even ? 0x7bff : 0x8001;  // the largest, the least negative
      header.dmin = e.has_min ? 0x7bff : 0;
      std::fill_n(codes, e.block, top ? static_cast<uint8_t>(e.levels.size() - 1) : uint8_t{0});
      e.pack(header, codes, data.data() + at);
    }
    const PackedMatrix w = pack_matrix(e, rows, cols, data.data(), nullptr, pool_);
    EXPECT_THAT(unpack_matrix(w), testing::Pointwise(testing::Eq(), decoded(e, data, rows * cols)));
    for (const float sign : {1.0f, -1.0f}) {
      for (const int64_t tokens : {3, 29}) {
        const std::vector<float> x(static_cast<size_t>(tokens * cols), sign * 1e3f);
        const auto expected = product(*all_kernels().front(), w, x, tokens, pool_);
        for (const Kernels* k : all_kernels()) {
          EXPECT_TRUE(same_bits(product(*k, w, x, tokens, pool_), expected)) << k->name << " tokens " << tokens;
        }
      }
    }
  }
}

TEST_P(EveryEncoding, ZeroAndNonFiniteActivations) {
  const Encoding& e = *GetParam();
  const int64_t rows = 20, cols = 256;
  const auto data = random_weights(e, rows, cols, 9);
  const PackedMatrix w = pack_matrix(e, rows, cols, data.data(), nullptr, pool_);
  for (const Kernels* k : all_kernels()) {
    std::vector<float> x(static_cast<size_t>(2 * cols), 0.0f);
    EXPECT_THAT(product(*k, w, x, 2, pool_), testing::Each(testing::FloatEq(0.0f))) << k->name;
    std::fill(x.begin(), x.end(), 1e-40f);  // below what can be divided by
    EXPECT_THAT(product(*k, w, x, 2, pool_), testing::Each(testing::FloatNear(0.0f, 1e-30f))) << k->name;
    std::fill(x.begin(), x.end(), 1.0f);
    x[100] = std::nanf("");
    const auto out = product(*k, w, x, 2, pool_);
    for (int64_t r = 0; r < rows; ++r) {
      EXPECT_TRUE(std::isnan(out[static_cast<size_t>(r)])) << k->name << ": a NaN must show";
      EXPECT_TRUE(std::isfinite(out[static_cast<size_t>(rows + r)])) << k->name << ": and only in its own token";
    }
  }
}

TEST_P(EveryEncoding, ThreadsAndBatchesChangeNothing) {
  const Encoding& e = *GetParam();
  const int64_t rows = 200, cols = 1280, tokens = 21;
  const auto data = random_weights(e, rows, cols, 10);
  const auto x = random_floats(tokens * cols, 11);
  const PackedMatrix w = pack_matrix(e, rows, cols, data.data(), nullptr, pool_);
  const auto expected = product(kernels(), w, x, tokens, pool_);
  ThreadPool one(1), five(5);
  EXPECT_TRUE(same_bits(product(kernels(), w, x, tokens, one), expected));
  EXPECT_TRUE(same_bits(product(kernels(), w, x, tokens, five), expected));
  std::vector<float> single;
  for (int64_t t = 0; t < tokens; ++t) {
    const auto out = product(kernels(), w, {x.begin() + t * cols, x.begin() + (t + 1) * cols}, 1, pool_);
    single.insert(single.end(), out.begin(), out.end());
  }
  EXPECT_TRUE(same_bits(single, expected));
}

INSTANTIATE_TEST_SUITE_P(Kernels, EveryEncoding, testing::ValuesIn(kernel_encodings()),
                         [](const auto& tested) { return std::string(tested.param->name); });

TEST(PackMatrix, RefusesWhatItCannotMultiply) {
  ThreadPool pool(1);
  const std::vector<std::byte> data(1024);
  const auto message = [&](EncodingId id, int64_t rows, int64_t cols) {
    try {
      pack_matrix(encoding(id), rows, cols, data.data(), nullptr, pool);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_THAT(message(EncodingId::I32, 1, 32), testing::HasSubstr("I32: there is no kernel"));
  EXPECT_THAT(message(EncodingId::Q4_K, 1, 128), testing::HasSubstr("must be a multiple of 256"));
  EXPECT_THAT(message(EncodingId::Q4_0, 0, 32), testing::HasSubstr("0 rows"));
  EXPECT_THAT(message(EncodingId::Q8_0, int64_t{1} << 40, int64_t{1} << 40), testing::HasSubstr("too large"));
}

TEST(Dispatch, NamesWhatTheMachineHas) {
  EXPECT_EQ(all_kernels().front()->name, "ref");
  for (const Kernels* k : all_kernels()) EXPECT_EQ(&kernels_named(k->name), k);
  try {
    kernels_named("mmx");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("LOWBIT_ISA=mmx: this machine has ref"));
  }
}

TEST(Prepare, RefusesTheWrongKindOfActivations) {
  ThreadPool pool(1);
  const Encoding &f = encoding(EncodingId::F32), &q = encoding(EncodingId::Q4_0);
  const auto floats = random_weights(f, 16, 64, 1), codes = random_weights(q, 16, 64, 1);
  const PackedMatrix a = pack_matrix(f, 16, 64, floats.data(), nullptr, pool);
  const PackedMatrix b = pack_matrix(q, 16, 64, codes.data(), nullptr, pool);
  const auto x = random_floats(64, 2);
  std::vector<float> out(16);
  Activations activations;
  prepare(kernels(), a, x.data(), 1, activations, pool);
  EXPECT_THROW(matmul(kernels(), b, activations, out.data(), pool), std::logic_error);
}

}  // namespace
}  // namespace lowbit

#include "kernel/columns.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "kernel/support.h"

namespace lowbit {
namespace {

constexpr int64_t kRows = 41, kCols = 32 * 11;  // a short panel and a short chunk of tiles

void expect_as_decoded(const std::vector<std::byte>& bytes) {
  const Encoding& e = encoding(EncodingId::Q8_0);
  const std::vector<float> weights = test::decoded(e, bytes, kRows * kCols);
  ThreadPool pool(1);
  const PackedMatrix w = pack_matrix(e, kRows, kCols, bytes.data(), nullptr, pool);
  ASSERT_TRUE(has_columns(w));
  const std::vector<int32_t> columns = {0, 3, 37, 255, 256, 351};
  const std::vector<float> x = test::random_floats(static_cast<int64_t>(columns.size()), 9);
  std::vector<float> out(kRows, 1), expected(kRows, 1);
  add_columns(w, 0, 1, columns, x.data(), out.data());  // any split of the panels
  add_columns(w, 1, w.panels(), columns, x.data(), out.data());
  for (int64_t r = 0; r < kRows; ++r) {
    for (size_t i = 0; i < columns.size(); ++i) {
      expected[static_cast<size_t>(r)] += weights[static_cast<size_t>(r * kCols + columns[i])] * x[i];
    }
  }
  EXPECT_EQ(out, expected);
}

TEST(Columns, AreAddedAsTheyDecode) {
  const Encoding& e = encoding(EncodingId::Q8_0);
  std::vector<std::byte> bytes = test::random_weights(e, kRows, kCols, 4);
  expect_as_decoded(bytes);
  // One scale a row, as W8A8 and LLM.int8 files have: tiles share it.
  for (size_t at = 0; at < bytes.size(); at += static_cast<size_t>(e.block_bytes)) {
    const size_t row = at / e.bytes(kCols) * e.bytes(kCols);
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(row), 2, bytes.begin() + static_cast<std::ptrdiff_t>(at));
  }
  expect_as_decoded(bytes);
}

TEST(Columns, OfOtherLayoutsAreNotRead) {
  const Encoding& e = encoding(EncodingId::Q4_0);
  ThreadPool pool(1);
  EXPECT_FALSE(has_columns(pack_matrix(e, 16, 32, test::random_weights(e, 16, 32, 4).data(), nullptr, pool)));
}

}  // namespace
}  // namespace lowbit

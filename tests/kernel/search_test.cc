#include "kernel/search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "kernel/support.h"

namespace lowbit {
namespace {

using test::random_floats;

struct Trace {
  SubBlocks blocks;
  LaneFloats factor;
  LaneGrid grid;
  LaneChoice choice;
  float unit;
  LaneBytes codes[kMaxSubBlock];
};

/// All that a table of kernels computes for sixteen sub-blocks, one of them zero.
void trace(const SearchKernels& k, const Encoding& e, bool weighted, Trace& out) {
  std::memset(static_cast<void*>(&out), 0, sizeof out);
  const std::vector<float> x = random_floats(16 * kMaxSubBlock, 11, 37);
  out.blocks.size = e.sub;
  out.blocks.weighted = weighted;
  for (int i = 0; i < e.sub; ++i) {
    for (int l = 0; l < kLanes; ++l) {
      const auto at = static_cast<size_t>(l * e.sub + i);
      out.blocks.x[i].lane[l] = l == 5 ? 0 : x[at];
      out.blocks.weight[i].lane[l] = l == 6 ? 0 : std::fabs(x[511 - at]);
    }
  }
  std::array<float, 16> table{};
  const bool uneven = e.levels.back() - e.levels.front() != static_cast<int>(e.levels.size()) - 1;
  if (uneven) std::copy(e.levels.begin(), e.levels.end(), table.begin());
  const LevelSet levels{static_cast<float>(e.levels.front()), static_cast<float>(e.levels.back()),
                        uneven ? table.data() : nullptr};
  k.prepare(out.blocks, e.sub_blocks(), 1.0F, out.factor);
  float targets[16], lows[16];
  for (int i = 0; i < 16; ++i) {
    targets[i] = levels.high + 0.2F * static_cast<float>(i - 8);
    lows[i] = levels.low - 0.1F * static_cast<float>(i % 3);
  }
  if (e.has_min) {
    k.search_affine(out.blocks, levels, {lows, targets, 11, 2, e.sub_blocks() > 1}, out.grid);
  } else {
    k.search_scale(out.blocks, levels, {targets, 11, 2}, out.grid);
  }
  out.unit = k.fit_unit(out.grid.scale.lane, out.blocks.weight[0].lane, 16, 0, 63, targets, 1);
  for (int l = 0; l < kLanes; ++l) {
    out.choice.unit.lane[l] = out.choice.min_unit.lane[l] = 0.013F;
    out.choice.scale.lane[l] = static_cast<float>(l);
    out.choice.min.lane[l] = e.has_min ? static_cast<float>(l % 4) : 0;
  }
  k.measure(out.blocks, levels, out.choice);
  k.improve(out.blocks, levels, {0, 63, e.has_min ? 63.0F : 0.0F}, out.choice);
  k.assign(out.blocks, levels, out.grid, out.codes);
}

class Search : public testing::TestWithParam<const Encoding*> {};

TEST_P(Search, EveryInstructionSetComputesTheSameBits) {
  for (const bool weighted : {false, true}) {
    Trace expected, got;
    trace(*all_search_kernels().front(), *GetParam(), weighted, expected);
    for (const SearchKernels* k : all_search_kernels()) {
      trace(*k, *GetParam(), weighted, got);
      EXPECT_EQ(std::memcmp(&got, &expected, sizeof got), 0) << k->name;
    }
  }
}

std::vector<const Encoding*> block_encodings() {
  std::vector<const Encoding*> out;
  for (const Encoding& e : encodings()) {
    if (e.kind == EncodingKind::Block && !e.run_only) out.push_back(&e);
  }
  return out;
}

INSTANTIATE_TEST_SUITE_P(Block, Search, testing::ValuesIn(block_encodings()),
                         [](const auto& row) { return std::string(row.param->name); });

/// Columns of a matrix that a table of kernels rounds, and the errors left.
struct Columns {
  static constexpr int kBefore = 5, kCount = 13;
  LaneFloats x[kCount], errors[kBefore + kCount];
  LaneBytes codes[kCount];
};

Columns rounded(const SearchKernels& k, const LevelSet& levels) {
  constexpr int kBefore = Columns::kBefore, kCount = Columns::kCount, kWidth = 4;
  Columns out{};
  const std::vector<float> values = random_floats((kCount + kBefore) * kLanes, 3);
  const std::vector<float> lower = random_floats(kCount * 20, 4, 0.3F);
  std::memcpy(out.x, values.data(), sizeof out.x);
  std::memcpy(out.errors, values.data() + kCount * kLanes, kBefore * sizeof(LaneFloats));
  LaneGrid grids[(kCount + kWidth - 1) / kWidth];
  for (LaneGrid& grid : grids) {
    for (int l = 0; l < kLanes; ++l) {
      grid.scale.lane[l] = l == 3 ? 0 : 0.05F * static_cast<float>(l + 1);
      grid.min.lane[l] = levels.table == nullptr ? 0.5F : 0;
    }
  }
  const ColumnRun run{out.x, out.errors, lower.data(), 20, kBefore, kCount};
  k.take_up(run);
  k.round_columns(run, levels, grids, kWidth, out.codes);
  return out;
}

TEST(RoundColumns, EveryInstructionSetComputesTheSameBits) {
  std::array<float, 16> table;
  for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<float>((i + 1) * (i + 1)) - 100;
  for (const LevelSet& levels : {LevelSet{0, 15, nullptr}, LevelSet{table.front(), table.back(), table.data()}}) {
    const Columns expected = rounded(*all_search_kernels().front(), levels);
    EXPECT_NE(std::memcmp(&expected.codes[0], &expected.codes[1], sizeof(LaneBytes)), 0);
    for (const SearchKernels* k : all_search_kernels()) {
      const Columns got = rounded(*k, levels);
      EXPECT_EQ(std::memcmp(got.x, expected.x, sizeof got.x), 0) << k->name;
      EXPECT_EQ(std::memcmp(got.errors, expected.errors, sizeof got.errors), 0) << k->name;
      EXPECT_EQ(std::memcmp(got.codes, expected.codes, sizeof got.codes), 0) << k->name;
    }
  }
}

}  // namespace
}  // namespace lowbit

#include "quantize/assign/column_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

#include "base/error.h"
#include "quantize/assign/gptq_groups.h"
#include "quantize/layerwise/cholesky.h"
#include "quantize/layerwise/layer_problem.h"
#include "quantize/layerwise/layerwise.h"
#include "quantize/scheme.h"

namespace lowbit {
namespace {

using testing::ElementsAre;

constexpr int64_t kRows = 20;
constexpr ColumnOrder kMoving[] = {ColumnOrder::GroupAware, ColumnOrder::Static, ColumnOrder::Activation};

std::vector<float> gaussian(int64_t n, unsigned seed, float scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> out(static_cast<size_t>(n));
  for (float& x : out) x = normal(random);
  return out;
}

/// Inputs whose channels go together and differ in size, in no order.
std::vector<float> inputs(int64_t tokens, int64_t cols) {
  std::vector<float> out = gaussian(tokens * cols, 5);
  const std::vector<float> common = gaussian(tokens, 6), size = gaussian(cols, 7);
  for (int64_t i = 0; i < tokens * cols; ++i) {
    out[static_cast<size_t>(i)] = std::exp(size[static_cast<size_t>(i % cols)]) *
                                  (out[static_cast<size_t>(i)] + common[static_cast<size_t>(i / cols)]);
  }
  return out;
}

GptqProblem problem(int64_t cols, ColumnOrder order, int64_t block, int sweeps = 0) {
  LayerwiseOptions options;
  options.alpha = options.beta = 0;
  options.order = order;
  options.sweeps = sweeps;
  ThreadPool pool(2);
  LayerProblem gathered(options, cols, 0, pool);
  gathered.add_inputs(inputs(600, cols).data(), 600);
  gathered.close("inputs");
  gathered.factor(block);
  return gathered.problem();
}

/// sum over rows of e H e^T
double loss(const GptqProblem& p, const std::vector<float>& x, const std::vector<float>& y) {
  const int64_t n = p.spread.cols;
  double sum = 0;
  for (size_t row = 0; row < x.size(); row += static_cast<size_t>(n)) {
    for (int64_t i = 0; i < n; ++i) {
      const double e = static_cast<double>(x[row + i]) - static_cast<double>(y[row + i]);
      for (int64_t j = 0; j < n; ++j) {
        sum += e * static_cast<double>(p.hessian[static_cast<size_t>(i * n + j)]) *
               (static_cast<double>(x[row + j]) - static_cast<double>(y[row + j]));
      }
    }
  }
  return sum;
}

/// The inverse of a positive definite matrix, by Gauss-Jordan in binary64.
std::vector<double> inverse(const std::vector<float>& h, int64_t n) {
  std::vector<double> a(h.begin(), h.end()), out(a.size());
  for (int64_t i = 0; i < n; ++i) out[static_cast<size_t>(i * n + i)] = 1;
  for (int64_t p = 0; p < n; ++p) {
    const double pivot = a[static_cast<size_t>(p * n + p)];
    for (int64_t j = 0; j < n; ++j) {
      a[static_cast<size_t>(p * n + j)] /= pivot;
      out[static_cast<size_t>(p * n + j)] /= pivot;
    }
    for (int64_t i = 0; i < n; ++i) {
      const double factor = a[static_cast<size_t>(i * n + p)];
      if (i == p || factor == 0) continue;
      for (int64_t j = 0; j < n; ++j) {
        a[static_cast<size_t>(i * n + j)] -= factor * a[static_cast<size_t>(p * n + j)];
        out[static_cast<size_t>(i * n + j)] -= factor * out[static_cast<size_t>(p * n + j)];
      }
    }
  }
  return out;
}

using Nearest = std::function<double(int64_t row, int64_t column, double value)>;

/// What the paper does, column by column and in binary64: rounds the rows' columns in this order, each error taken up
/// by the columns that are left (optimal brain surgeon), and forgets the column.
std::vector<float> plain_gptq(const GptqProblem& p, const std::vector<float>& weights, const Nearest& nearest) {
  const int64_t n = p.spread.cols, rows = static_cast<int64_t>(weights.size()) / n;
  std::vector<double> left = inverse(p.hessian, n), w(weights.begin(), weights.end());
  for (int64_t rank = 0; rank < n; ++rank) {
    const int64_t c = p.ranks.at(rank);
    const double diagonal = left[static_cast<size_t>(c * n + c)];
    std::vector<double> row(left.begin() + c * n, left.begin() + (c + 1) * n);
    for (int64_t r = 0; r < rows; ++r) {
      double& value = w[static_cast<size_t>(r * n + c)];
      const double stored = nearest(r, c, value), error = (value - stored) / diagonal;
      for (int64_t next = rank + 1; next < n; ++next) {
        const int64_t j = p.ranks.at(next);
        w[static_cast<size_t>(r * n + j)] -= error * row[static_cast<size_t>(j)];
      }
      value = stored;
    }
    for (int64_t i = 0; i < n; ++i) {
      const double factor = left[static_cast<size_t>(i * n + c)] / diagonal;
      for (int64_t j = 0; j < n; ++j) left[static_cast<size_t>(i * n + j)] -= factor * row[static_cast<size_t>(j)];
    }
  }
  return {w.begin(), w.end()};
}

double differing(const std::vector<float>& a, const std::vector<float>& b) {
  double count = 0;
  for (size_t i = 0; i < a.size(); ++i) count += std::fabs(a[i] - b[i]) > 1e-5F ? 1 : 0;
  return count / static_cast<double>(a.size());
}

TEST(ColumnOrder, RanksColumnsByTheirInputs) {
  const std::vector<float> importance = {1, 5, 2, 2, 9, 0, 3};
  EXPECT_THAT(rank_columns(ColumnOrder::Stored, importance, 2).columns, ElementsAre());
  const ColumnRanks still = rank_columns(ColumnOrder::Static, importance, 2);
  EXPECT_THAT(still.columns, ElementsAre(4, 1, 6, 2, 3, 0, 5));
  EXPECT_EQ(still.unit, 7);
  EXPECT_FALSE(still.groups_follow);
  const ColumnRanks aware = rank_columns(ColumnOrder::GroupAware, importance, 2);  // the last group is of one column
  EXPECT_THAT(aware.columns, ElementsAre(4, 5, 1, 0, 6, 2, 3));
  EXPECT_EQ(aware.unit, 2);
  const ColumnRanks act = rank_columns(ColumnOrder::Activation, importance, 2);
  EXPECT_EQ(act.columns, still.columns);
  EXPECT_EQ(act.unit, 2);
  EXPECT_TRUE(act.groups_follow);
}

TEST(ColumnOrder, NamesAreReadAndOthersRefused) {
  for (const ColumnOrder order : {ColumnOrder::Stored, kMoving[0], kMoving[1], kMoving[2]}) {
    EXPECT_EQ(column_order_named(column_order_name(order)), order);
  }
  EXPECT_THROW(column_order_named("desc"), Error);
}

/// On the grids that were found, every order's codes are those of the plain method.
TEST(ColumnOrder, GroupsAreRoundedAsThePlainMethodDoes) {
  constexpr int64_t kCols = 160;
  const std::vector<float> x = gaussian(kRows * kCols, 3, 0.05F);
  const GroupFormat formats[] = {{.bits = 4, .group = 32},
                                 {.bits = 3, .zero = GroupZero::Integer, .group = 48},
                                 {.bits = 8},
                                 {.levels = GroupLevels::NF4, .span = GroupSpan::Flat, .group = 32}};
  ThreadPool one(1), three(3);
  for (const GroupFormat& f : formats) {
    for (const ColumnOrder order : {ColumnOrder::Stored, kMoving[0], kMoving[1], kMoving[2]}) {
      if (order == ColumnOrder::Activation && f.span != GroupSpan::Row) continue;
      const GptqProblem p = problem(kCols, order, group_columns(f, kCols));
      const GroupMatrix m = quantize_groups_gptq(f, GroupSearch::Squares, x.data(), kRows, p, one);
      const std::span<const float> levels = group_levels(f);
      std::vector<float> y(x.size());
      decode(m, y.data());
      const std::vector<float> plain = plain_gptq(p, x, [&](int64_t r, int64_t c, double value) {
        const int64_t group = m.group_index(r, c);
        double best = INFINITY;
        for (const float level : levels) {
          const double v = static_cast<double>(m.scales[static_cast<size_t>(group)] * (level - m.zero_at(group)));
          if (std::fabs(v - value) < std::fabs(best - value)) best = v;
        }
        return best;
      });
      EXPECT_LT(differing(y, plain), 0.01) << column_order_name(order) << ", " << f.bits << " bits";
      const GroupMatrix again = quantize_groups_gptq(f, GroupSearch::Squares, x.data(), kRows, p, three);
      EXPECT_EQ(m.codes, again.codes);
      EXPECT_EQ(m.scales, again.scales);
      EXPECT_EQ(m.group_of_column, again.group_of_column);
    }
  }
}

TEST(ColumnOrder, BlocksAreRoundedAsThePlainMethodDoes) {
  constexpr int64_t kCols = 512;
  const std::vector<float> x = gaussian(kRows * kCols, 3, 0.05F);
  for (const EncodingId id : {EncodingId::Q4_K, EncodingId::Q8_0, EncodingId::IQ4_XS}) {
    const Encoding& e = encoding(id);
    for (const ColumnOrder order : {ColumnOrder::Stored, ColumnOrder::GroupAware, ColumnOrder::Static}) {
      // Matrices that share a problem share its order: blocks of 32 beside those of 256.
      const GptqProblem p = problem(kCols, order, 256);
      std::vector<std::byte> bytes(e.bytes(x.size()));
      encode_rows_gptq(e, x.data(), kRows, p, bytes.data());
      std::vector<float> y(x.size());
      decode(e, bytes.data(), static_cast<int64_t>(x.size()), y.data());
      const std::vector<float> plain = plain_gptq(p, x, [&](int64_t r, int64_t c, double value) {
        BlockHeader header;
        uint8_t codes[kMaxBlock];
        e.unpack(bytes.data() + (r * kCols + c) / e.block * e.block_bytes, header, codes);
        const BlockGrid grid = e.grid(header);
        const auto sub = static_cast<size_t>(c % e.block / e.sub);
        double best = INFINITY;
        for (const int level : e.levels) {
          const double v = static_cast<double>(grid.scale[sub] * static_cast<float>(level) - grid.min[sub]);
          if (std::fabs(v - value) < std::fabs(best - value)) best = v;
        }
        return best;
      });
      EXPECT_LT(differing(y, plain), 0.01) << column_order_name(order) << ", " << e.name;
    }
  }
}

TEST(ColumnOrder, DescentLosesLessInEveryOrder) {
  constexpr int64_t kCols = 160;
  const std::vector<float> x = gaussian(kRows * kCols, 3, 0.05F);
  const GroupFormat f{.bits = 4, .group = 32};
  ThreadPool pool(2);
  for (const ColumnOrder order : kMoving) {
    const auto lost = [&](int sweeps) {
      const GptqProblem p = problem(kCols, order, 32, sweeps);
      std::vector<float> y(x.size());
      decode(quantize_groups_gptq(f, GroupSearch::Squares, x.data(), kRows, p, pool), y.data());
      return loss(p, x, y);
    };
    const double without = lost(0);
    EXPECT_LT(lost(2), without) << column_order_name(order);
  }
}

/// A target is where it is, in whatever order H was factored.
TEST(ColumnOrder, CorrectionDoesNotDependOnIt) {
  constexpr int64_t kCols = 96, kTokens = 400;
  const std::vector<float> now = inputs(kTokens, kCols), noise = gaussian(kTokens * kCols, 21, 0.1F);
  std::vector<float> before = now;
  for (size_t i = 0; i < now.size(); ++i) before[i] += noise[i] * now[i];
  const std::vector<float> lacking = gaussian(kTokens * kRows, 22);
  ThreadPool pool(2);
  const auto corrected = [&](ColumnOrder order) {
    LayerwiseOptions options;
    options.order = order;
    LayerProblem p(options, kCols, kRows, pool);
    p.add_inputs(now.data(), kTokens);
    p.add_original(now.data(), before.data(), kTokens);
    p.add_lacking(now.data(), lacking.data(), kTokens);
    p.close("inputs");
    p.factor(32);
    std::vector<float> weights = gaussian(kRows * kCols, 23);
    p.correct(0, kRows, weights);
    return weights;
  };
  const std::vector<float> stored = corrected(ColumnOrder::Stored), given = gaussian(kRows * kCols, 23);
  EXPECT_GT(differing(stored, given), 0.9);
  for (const ColumnOrder order : kMoving) {
    const std::vector<float> other = corrected(order);
    for (size_t i = 0; i < stored.size(); ++i) ASSERT_NEAR(other[i], stored[i], 2e-3F) << column_order_name(order);
  }
}

TEST(ColumnOrder, ConfigsTellItAndRefuseWhatTheyCannot) {
  auto gptq = find_group_scheme("gptq-4bit-128g", EncodingId::BF16);
  const auto config_of = [&](ColumnOrder order) {
    note_gptq(*gptq, order, 0.02);
    return gptq->dialect->config({"lm_head"});
  };
  const Json act = config_of(ColumnOrder::Activation), still = config_of(ColumnOrder::Static),
             aware = config_of(ColumnOrder::GroupAware), stored = config_of(ColumnOrder::Stored);
  EXPECT_EQ(act["desc_act"], true);
  EXPECT_EQ(act["static_groups"], false);
  EXPECT_EQ(act["damp_percent"], 0.02);
  // Columns of a group are as stored: to readers both are files without an order.
  EXPECT_EQ(still["desc_act"], false);
  EXPECT_EQ(still["static_groups"], true);
  EXPECT_EQ(aware["desc_act"], false);
  EXPECT_EQ(aware["act_group_aware"], true);
  EXPECT_EQ(stored["act_group_aware"], false);
  auto other = find_group_scheme("w4a16", EncodingId::BF16);
  note_gptq(*other, ColumnOrder::Static, 0.01);
  try {
    note_gptq(*other, ColumnOrder::Activation, 0.01);
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("--order act: compressed-tensors files cannot say"));
  }
}

}  // namespace
}  // namespace lowbit

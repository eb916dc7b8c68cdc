#include "quantize/assign/gptq.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "base/error.h"
#include "model/tiny_model.h"
#include "quantize/assign/gptq_groups.h"
#include "quantize/encode.h"
#include "quantize/layerwise/cholesky.h"
#include "quantize/layerwise/layerwise.h"
#include "quantize/layerwise/linalg.h"
#include "quantize/memory_writer.h"

namespace lowbit {
namespace {

std::vector<float> gaussian(int64_t n, unsigned seed, float scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> out(static_cast<size_t>(n));
  for (float& x : out) x = normal(random);
  return out;
}

/// Inputs whose channels go together and differ in size, as activations do.
std::vector<float> inputs(int64_t tokens, int64_t cols) {
  const std::vector<float> noise = gaussian(tokens * cols, 5), common = gaussian(tokens, 6);
  std::vector<float> out(noise.size());
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t c = 0; c < cols; ++c) {
      const float size = 0.2F + static_cast<float>(c % 7);
      const auto at = static_cast<size_t>(t * cols + c);
      out[at] = size * (noise[at] + common[static_cast<size_t>(t)] + (c > 0 ? noise[at - 1] : 0));
    }
  }
  return out;
}

SquareMatrix hessian(int64_t cols, double damping = 0.01) {
  ThreadPool pool(1);
  Gram gram(cols, cols, true);
  const std::vector<float> x = inputs(600, cols);
  gram.add(x.data(), x.data(), 600, pool);
  SquareMatrix h(cols);
  const std::vector<float> values = gram.take_mean();
  h.values.assign(values.begin(), values.end());
  double mean = 0;
  for (int64_t i = 0; i < cols; ++i) mean += h.at(i, i) / static_cast<double>(cols);
  for (int64_t i = 0; i < cols; ++i) h.at(i, i) += damping * mean;
  return h;
}

GptqProblem problem(const SquareMatrix& h, int sweeps = 0) {
  ThreadPool pool(2);
  std::vector<float> u;
  EXPECT_TRUE(inverse_factor(h, u, pool));
  GptqProblem out{make_spread(std::move(u), h.n), {h.values.begin(), h.values.end()}, {}, sweeps};
  for (int64_t i = 0; i < h.n; ++i) out.importance.push_back(static_cast<float>(h.at(i, i)));
  return out;
}

/// sum over rows of e H e^T
double loss(const SquareMatrix& h, const std::vector<float>& x, const std::vector<float>& y) {
  double sum = 0;
  for (size_t row = 0; row < x.size(); row += static_cast<size_t>(h.n)) {
    for (int64_t i = 0; i < h.n; ++i) {
      const double e = static_cast<double>(x[row + i]) - static_cast<double>(y[row + i]);
      for (int64_t j = 0; j < h.n; ++j) {
        sum += e * h.at(i, j) * (static_cast<double>(x[row + j]) - static_cast<double>(y[row + j]));
      }
    }
  }
  return sum;
}

TEST(Linalg, TimesInverseSolves) {
  const SquareMatrix h = hessian(96);
  ThreadPool pool(2);
  std::vector<float> u;
  ASSERT_TRUE(inverse_factor(h, u, pool));
  const std::vector<float> x = gaussian(3 * 96, 9);
  const std::vector<float> y = times_inverse(x, 3, make_spread(std::move(u), 96), pool);
  for (int64_t j = 0; j < 96; ++j) {  // y H = x
    double sum = 0;
    for (int64_t k = 0; k < 96; ++k) sum += static_cast<double>(y[static_cast<size_t>(k)]) * h.at(k, j);
    EXPECT_NEAR(sum, static_cast<double>(x[static_cast<size_t>(j)]), 1e-2);
  }
}

TEST(Linalg, GramIsTheSumOfProductsForAnyShapeAndThreads) {
  const int64_t rows = 37, cols = 133, tokens = 50;
  const std::vector<float> a = gaussian(tokens * rows, 1), b = gaussian(tokens * cols, 2);
  ThreadPool one(1), three(3);
  Gram gram(rows, cols, false), again(rows, cols, false), symmetric(cols, cols, true);
  gram.add(b.data(), a.data(), 20, one);
  gram.add(b.data() + 20 * cols, a.data() + 20 * rows, 30, one);
  again.add(b.data(), a.data(), 20, three);
  again.add(b.data() + 20 * cols, a.data() + 20 * rows, 30, three);
  symmetric.add(b.data(), b.data(), tokens, three);
  const std::vector<float> mean = gram.take_mean(), square = symmetric.take_mean();
  EXPECT_EQ(mean, again.take_mean());
  EXPECT_TRUE(gram.empty());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      double sum = 0;
      for (int64_t t = 0; t < tokens; ++t)
        sum += static_cast<double>(a[t * rows + r]) * static_cast<double>(b[t * cols + c]);
      ASSERT_NEAR(static_cast<double>(mean[static_cast<size_t>(r * cols + c)]), sum / tokens, 1e-5);
    }
  }
  for (int64_t r = 0; r < cols; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      double sum = 0;
      for (int64_t t = 0; t < tokens; ++t)
        sum += static_cast<double>(b[t * cols + r]) * static_cast<double>(b[t * cols + c]);
      ASSERT_NEAR(static_cast<double>(square[static_cast<size_t>(r * cols + c)]), sum / tokens, 1e-5);
    }
  }
}

class Gptq : public testing::TestWithParam<const Encoding*> {};

std::vector<const Encoding*> block_encodings() {
  std::vector<const Encoding*> out;
  for (const Encoding& e : encodings()) {
    if (e.kind == EncodingKind::Block && !e.run_only) out.push_back(&e);
  }
  return out;
}

INSTANTIATE_TEST_SUITE_P(Block, Gptq, testing::ValuesIn(block_encodings()),
                         [](const auto& row) { return std::string(row.param->name); });

TEST_P(Gptq, LosesLessThanNearestAndDescentLosesLessStill) {
  const Encoding& e = *GetParam();
  const int64_t rows = 35, cols = 512;
  const SquareMatrix h = hessian(cols);
  const std::vector<float> x = gaussian(rows * cols, 3, 0.05F);
  std::vector<std::byte> bytes(e.bytes(x.size()));
  std::vector<float> y(x.size());
  const auto lost = [&] {
    decode(e, bytes.data(), rows * cols, y.data());
    return loss(h, x, y);
  };
  const GptqProblem plain = problem(h), swept = problem(h, 2);
  encode_rows(e, Search::Weighted, x.data(), rows, cols, plain.importance.data(), bytes.data());
  const double nearest = lost();
  encode_rows_gptq(e, x.data(), rows, plain, bytes.data());
  const double gptq = lost();
  encode_rows_gptq(e, x.data(), rows, swept, bytes.data());
  const double descended = lost();
  EXPECT_LT(gptq, 0.8 * nearest);
  EXPECT_LT(descended, gptq);
  RecordProperty("gptq", std::to_string(gptq / nearest));
  RecordProperty("descent", std::to_string(descended / nearest));

  // Any split of the rows gives the same bytes.
  std::vector<std::byte> parts(bytes.size());
  const uint64_t row_bytes = e.bytes(cols);
  encode_rows_gptq(e, x.data(), 7, swept, parts.data());
  encode_rows_gptq(e, x.data() + 7 * cols, rows - 7, swept, parts.data() + 7 * row_bytes);
  EXPECT_EQ(bytes, parts);
}

struct NamedFormat {
  const char* name;
  GroupFormat format;
};

class GptqGroups : public testing::TestWithParam<NamedFormat> {};

INSTANTIATE_TEST_SUITE_P(
    Formats, GptqGroups,
    testing::Values(NamedFormat{"Int4G128", {.bits = 4, .group = 128}},
                    NamedFormat{"Int4G128Zero", {.bits = 4, .zero = GroupZero::Integer, .group = 128}},
                    NamedFormat{"Int3G100Short", {.bits = 3, .group = 100}}, NamedFormat{"Int8Row", {.bits = 8}},
                    NamedFormat{"Int2G64Float", {.bits = 2, .zero = GroupZero::Float, .group = 64}},
                    NamedFormat{"Int4Tensor", {.bits = 4, .span = GroupSpan::Tensor}},
                    NamedFormat{"Nf4", {.levels = GroupLevels::NF4, .span = GroupSpan::Flat, .group = 64}},
                    NamedFormat{"Nf4Double",
                                {.levels = GroupLevels::NF4,
                                 .span = GroupSpan::Flat,
                                 .group = 64,
                                 .number = EncodingId::F32,
                                 .doubly_quantized = true}}),
    [](const auto& row) { return std::string(row.param.name); });

TEST_P(GptqGroups, LosesLessThanNearest) {
  const GroupFormat& format = GetParam().format;
  const int64_t rows = 35, cols = 320;
  ASSERT_TRUE(has_gptq_grid(format, cols));
  const SquareMatrix h = hessian(cols);
  const GptqProblem p = problem(h);
  const std::vector<float> x = gaussian(rows * cols, 4, 0.05F);
  ThreadPool one(1), three(3);
  std::vector<float> y(x.size()), z(x.size());
  decode(quantize_groups(format, GroupSearch::Squares, x.data(), rows, cols, p.importance.data(), one), y.data());
  const GroupMatrix solved = quantize_groups_gptq(format, GroupSearch::Squares, x.data(), rows, p, one);
  decode(solved, z.data());
  EXPECT_LT(loss(h, x, z), 0.8 * loss(h, x, y));
  for (const uint8_t code : solved.codes) ASSERT_LT(code, format.codes());
  const GroupMatrix again = quantize_groups_gptq(format, GroupSearch::Squares, x.data(), rows, p, three);
  EXPECT_EQ(solved.codes, again.codes);
  EXPECT_EQ(solved.scales, again.scales);
}

TEST_P(GptqGroups, DescentLosesLessStill) {
  const GroupFormat& format = GetParam().format;
  const int64_t rows = 35, cols = 320;
  const SquareMatrix h = hessian(cols);
  const std::vector<float> x = gaussian(rows * cols, 4, 0.05F);
  ThreadPool pool(2);
  const auto lost = [&](int sweeps) {
    std::vector<float> y(x.size());
    decode(quantize_groups_gptq(format, GroupSearch::Squares, x.data(), rows, problem(h, sweeps), pool), y.data());
    return loss(h, x, y);
  };
  const double without = lost(0), once = lost(1), thrice = lost(3);
  EXPECT_LT(once, 0.98 * without);
  EXPECT_LE(thrice, once * (1 + 1e-5));
}

TEST(GptqGroups, FormatsWithoutAGridAreTold) {
  EXPECT_FALSE(has_gptq_grid({.levels = GroupLevels::FP4, .span = GroupSpan::Flat, .group = 64}, 128));
  EXPECT_FALSE(has_gptq_grid({.levels = GroupLevels::NF4, .span = GroupSpan::Flat, .group = 64}, 96));
}

std::vector<int32_t> tokens() {
  std::vector<int32_t> out;
  for (int i = 0; i < 16 * 64; ++i) out.push_back((i * 31 + i / 64 * 7) % 96);
  return out;
}

struct Outcome {
  std::map<size_t, std::vector<std::byte>> tensors;
  std::vector<MatrixReport> reports;
};

Outcome round_tiny(TinyModel& model, int threads, const LayerwiseOptions& options) {
  PlanOptions plan_options;
  plan_options.mixture = find_mixture("Q4_0");
  plan_options.layerwise = true;
  const Plan plan = make_plan(model.source, plan_options);
  ThreadPool pool(threads);
  MemoryWriter writer;
  const auto target = gguf_target(plan, model.source, writer, pool);
  const std::vector<int32_t> ids = tokens();
  Outcome out;
  out.reports = round_layerwise(model.source, ids, 64, options, *target, pool);
  out.tensors = std::move(writer.tensors);
  return out;
}

TEST(Layerwise, RoundsEveryMatrixOfEveryLayerTheSameForAnyThreads) {
  TinyModel model({tiny_config(64)});
  const Outcome one = round_tiny(model, 1, {}), three = round_tiny(model, 3, {});
  EXPECT_EQ(one.tensors.size(), 15u);  // the output matrix too
  EXPECT_EQ(one.tensors, three.tensors);
  ASSERT_EQ(one.reports.size(), 15u);
  EXPECT_EQ(one.reports[0].tensor, "blk.0.attn_q.weight");
  for (const MatrixReport& r : one.reports) {
    EXPECT_FALSE(r.fell_back) << r.tensor;
    EXPECT_GT(r.error, 0) << r.tensor;
    EXPECT_LT(r.error, 0.05) << r.tensor;
    EXPECT_EQ(r.damping, 0.01) << r.tensor;
  }
  EXPECT_NE(one.tensors, round_tiny(model, 2, {.alpha = 0, .beta = 0}).tensors);
}

TEST(Layerwise, InputsThatAreAllZeroFallBackToTheNearestCodes) {
  TinyModel model({tiny_config(64)});
  std::vector<std::byte>& norm = model.store().bytes(hf_name({Role::FfnNorm, 1}));
  std::fill(norm.begin(), norm.end(), std::byte{0});
  const Outcome out = round_tiny(model, 2, {});
  for (const MatrixReport& r : out.reports) {
    const bool silent =
        r.tensor == "blk.1.ffn_gate.weight" || r.tensor == "blk.1.ffn_up.weight" || r.tensor == "blk.1.ffn_down.weight";
    EXPECT_EQ(r.fell_back, silent) << r.tensor;
  }
}

TEST(Layerwise, InputsThatAreNotFiniteAreNamed) {
  TinyModel model({tiny_config(64)});
  std::vector<std::byte>& norm = model.store().bytes(hf_name({Role::FfnNorm, 1}));
  const float damage = std::numeric_limits<float>::infinity();
  std::memcpy(norm.data(), &damage, sizeof damage);
  try {
    round_tiny(model, 2, {});
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("the inputs of blk.1.ffn_gate.weight in memory are not finite"));
  }
}

}  // namespace
}  // namespace lowbit

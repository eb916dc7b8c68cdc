#include "quantize/assign/group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/error.h"
#include "quantize/layerwise/group_grams.h"
#include "quantize/quantize_groups.h"
#include "quantize/scheme.h"

namespace lowbit {
namespace {

std::vector<float> gaussian(size_t n, unsigned seed, float scale = 0.05F) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> out(n);
  for (float& x : out) x = normal(random);
  return out;
}

std::vector<GroupFormat> formats() {
  std::vector<GroupFormat> out;
  for (const int bits : {2, 3, 4, 8}) {
    for (const GroupZero zero : {GroupZero::Fixed, GroupZero::Integer, GroupZero::Float}) {
      out.push_back({bits, GroupLevels::Integer, zero, GroupSpan::Row, 64, EncodingId::F16});
    }
    out.push_back({bits, GroupLevels::Integer, GroupZero::Fixed, GroupSpan::Tensor, 0, EncodingId::BF16});
  }
  out.push_back({4, GroupLevels::NF4, GroupZero::Fixed, GroupSpan::Flat, 64, EncodingId::F32});
  out.push_back({4, GroupLevels::FP4, GroupZero::Fixed, GroupSpan::Flat, 64, EncodingId::F32, 0, true});
  return out;
}

double squared_error(const GroupMatrix& m, const std::vector<float>& x) {
  std::vector<float> y(x.size());
  decode(m, y.data());
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += (x[i] - y[i]) * static_cast<double>(x[i] - y[i]);
  return sum;
}

constexpr int64_t kRows = 8, kCols = 200;  // the last group of a row is short

/// Inputs whose channels have something in common, and what that makes of a group.
GroupGrams grams_of(int64_t cols, int64_t group, std::vector<float>& importance) {
  ThreadPool pool(2);
  const std::vector<float> noise = gaussian(static_cast<size_t>(256 * cols), 5, 1), common = gaussian(256, 6, 1);
  std::vector<float> x = noise;
  for (size_t i = 0; i < x.size(); ++i) x[i] += 2 * common[i / static_cast<size_t>(cols)];
  GroupGramSums sums(cols, group);
  sums.add(x.data(), 100, pool);
  sums.add(x.data() + 100 * cols, 156, pool);
  GroupGrams out = sums.take_mean();
  for (int64_t c = 0; c < cols; ++c) {
    const int64_t begin = c / group * group, width = std::min(group, cols - begin);
    importance.push_back(out.at(begin)[(c - begin) * (width + 1)]);
  }
  return out;
}

double output_error(const GroupMatrix& m, const std::vector<float>& x, const GroupGrams& grams) {
  std::vector<float> y(x.size());
  decode(m, y.data());
  double sum = 0;
  for (int64_t begin = 0; begin < m.cols; begin += grams.group) {
    const int64_t width = std::min(grams.group, m.cols - begin);
    for (int64_t r = 0; r < m.rows; ++r) {
      const auto e = [&](int64_t i) {
        return static_cast<double>(x[r * m.cols + begin + i] - y[r * m.cols + begin + i]);
      };
      for (int64_t i = 0; i < width; ++i) {
        for (int64_t j = 0; j < i; ++j) sum += 2 * e(i) * e(j) * static_cast<double>(grams.at(begin)[i * width + j]);
        sum += e(i) * e(i) * static_cast<double>(grams.at(begin)[i * (width + 1)]);
      }
    }
  }
  return sum;
}

TEST(QuantizeGroups, RangesChosenByTheOutputLoseLessOfIt) {
  constexpr int64_t kGroup = 32, kColumns = 80;  // the last group is short
  ThreadPool pool(2);
  std::vector<float> importance;
  const GroupGrams grams = grams_of(kColumns, kGroup, importance);
  const std::vector<float> x = gaussian(16 * kColumns, 7);
  for (const GroupZero zero : {GroupZero::Fixed, GroupZero::Integer, GroupZero::Float}) {
    GroupFormat f;
    f.bits = 4;
    f.group = kGroup;
    f.zero = zero;
    const auto error = [&](const GroupGrams* by) {
      return output_error(quantize_groups(f, GroupSearch::Squares, x.data(), 16, kColumns, importance.data(), pool, by),
                          x, grams);
    };
    EXPECT_LT(error(&grams), 0.8 * error(nullptr));
  }
}

TEST(QuantizeGroups, NoOtherCodeIsNearer) {
  const std::vector<float> x = gaussian(kRows * kCols, 1);
  ThreadPool pool(2);
  for (const GroupFormat& f : formats()) {
    const GroupMatrix m = quantize_groups(f, GroupSearch::Squares, x.data(), kRows, kCols, nullptr, pool);
    const std::span<const float> levels = group_levels(f);
    for (int64_t i = 0; i < kRows * kCols; ++i) {
      const int64_t g = m.group_index(i / kCols, i % kCols);
      const float s = m.scales[static_cast<size_t>(g)], z = m.zero_at(g);
      const float chosen = std::fabs(s * (levels[m.codes[static_cast<size_t>(i)]] - z) - x[static_cast<size_t>(i)]);
      for (const float level : levels) {
        ASSERT_LE(chosen, std::fabs(s * (level - z) - x[static_cast<size_t>(i)]) + 1e-5F * s) << f.bits;
      }
    }
  }
}

TEST(QuantizeGroups, EverySearchKeepsErrorsSmallAndSquaresBeatsPlainRounding) {
  const std::vector<float> x = gaussian(kRows * kCols, 2);
  ThreadPool pool(2);
  double power = 0;
  for (const float v : x) power += v * static_cast<double>(v);
  for (const GroupFormat& f : formats()) {
    const double worst = f.span == GroupSpan::Tensor ? 3 : 1;
    const auto error = [&](GroupSearch search) {
      return squared_error(quantize_groups(f, search, x.data(), kRows, kCols, nullptr, pool), x) / power;
    };
    const double plain = error(GroupSearch::MinMax);
    for (const GroupSearch search :
         {GroupSearch::AbsMax, GroupSearch::MinMax, GroupSearch::Range, GroupSearch::HalfQuadratic}) {
      EXPECT_LT(error(search), worst * 12 / std::pow(4.0, f.bits)) << f.bits << " " << static_cast<int>(search);
    }
    EXPECT_LE(error(GroupSearch::Squares), 1.001 * plain) << f.bits << " " << static_cast<int>(f.zero);
  }
}

TEST(QuantizeGroups, FollowsImportance) {
  const std::vector<float> x = gaussian(64 * 64, 3);
  std::vector<float> importance(64, 1e-3F);
  for (size_t i = 0; i < 64; i += 8) importance[i] = 1;
  ThreadPool pool(2);
  const GroupFormat f{3, GroupLevels::Integer, GroupZero::Integer, GroupSpan::Row, 64};
  const auto error = [&](const float* counted) {
    const GroupMatrix m = quantize_groups(f, GroupSearch::Squares, x.data(), 64, 64, counted, pool);
    std::vector<float> y(x.size());
    decode(m, y.data());
    double sum = 0;
    for (size_t i = 0; i < x.size(); i += 8) sum += (x[i] - y[i]) * static_cast<double>(x[i] - y[i]);
    return sum;
  };
  EXPECT_LT(error(importance.data()), error(nullptr));
}

TEST(QuantizeGroups, ZerosAndConstantsSurviveAndExtremesStayFinite) {
  ThreadPool pool(1);
  for (const GroupFormat& f : formats()) {
    for (const GroupSearch search : {GroupSearch::AbsMax, GroupSearch::MinMax, GroupSearch::Range, GroupSearch::Squares,
                                     GroupSearch::HalfQuadratic}) {
      for (const float value : {0.0F, 0.25F, -0.25F, 1e-30F, 1e30F, -1e30F}) {
        const std::vector<float> x(64, value);
        const GroupMatrix m = quantize_groups(f, search, x.data(), 1, 64, nullptr, pool);
        std::vector<float> y(64);
        decode(m, y.data());
        for (const float v : y) {
          ASSERT_TRUE(std::isfinite(v)) << value;
          if (value == 0) {
            ASSERT_EQ(v, 0);
          }
        }
        const bool whole = search == GroupSearch::Squares && !f.doubly_quantized;
        if (whole && std::fabs(value) == 0.25F) {
          EXPECT_NEAR(y[0], value, 0.01F) << f.bits << static_cast<int>(f.zero);
        }
      }
    }
  }
}

TEST(QuantizeGroups, TheThreadsDoNotShow) {
  const std::vector<float> x = gaussian(64 * 512, 4);
  ThreadPool one(1), three(3);
  for (const GroupFormat& f : formats()) {
    const GroupMatrix a = quantize_groups(f, GroupSearch::Squares, x.data(), 64, 512, nullptr, one);
    const GroupMatrix b = quantize_groups(f, GroupSearch::Squares, x.data(), 64, 512, nullptr, three);
    EXPECT_EQ(a.codes, b.codes);
    EXPECT_EQ(a.scales, b.scales);
    EXPECT_EQ(a.zeros, b.zeros);
  }
}

TEST(Scheme, NamesAreAGrammar) {
  const auto gptq = find_group_scheme("GPTQ-3bit-64g-asym-v2", EncodingId::BF16);
  ASSERT_TRUE(gptq);
  EXPECT_EQ(gptq->method, "gptq");
  EXPECT_EQ(gptq->format.bits, 3);
  EXPECT_EQ(gptq->format.group, 64);
  EXPECT_EQ(gptq->format.zero, GroupZero::Integer);
  EXPECT_EQ(gptq->format.lowest_zero, 0);
  EXPECT_EQ(find_group_scheme("gptq-4bit-128g-asym-v1", EncodingId::BF16)->format.lowest_zero, 1);
  EXPECT_TRUE(find_group_scheme("gptq-4bit-128g-asym", EncodingId::BF16)->second_version);
  EXPECT_TRUE(find_group_scheme("w4a16-ct", EncodingId::F16));
  EXPECT_TRUE(find_group_scheme("llm-int8", EncodingId::F16));
  const auto fixed = find_group_scheme("smoothquant-w8a8-static", EncodingId::BF16);
  ASSERT_TRUE(fixed);
  EXPECT_TRUE(fixed->static_activations);
  EXPECT_FALSE(fixed->integer_activations);
  EXPECT_EQ(fixed->transform, Transform::SmoothQuant);
  EXPECT_FALSE(find_group_scheme("w8a8", EncodingId::BF16)->static_activations);
  for (const char* name : {"Q4_K_M", "", "-", "gptq-", "gptq-4bit-sym-asym", "nf4-64g", "gptqq-4bit", "eetq-4bit",
                           "w8a8-128g", "w4a16-static", "gptq-4bit-static", "hqq-4bit-channel"}) {
    EXPECT_FALSE(find_group_scheme(name, EncodingId::BF16)) << name;
  }
  for (const char* name :
       {"gptq-9bit", "gptq-5bit-128g", "awq-8bit-128g", "gptq-4bit-3g", "gptq-4bit-99999999999999999999g"}) {
    try {
      EXPECT_FALSE(find_group_scheme(name, EncodingId::BF16)) << name;
    } catch (const Error&) {
    }
  }
  for (const SchemeForm& form : group_scheme_forms()) {
    const std::string first(form.form.substr(0, form.form.find(',')));
    EXPECT_TRUE(find_group_scheme(first, EncodingId::BF16)) << first;
  }
}

}  // namespace
}  // namespace lowbit

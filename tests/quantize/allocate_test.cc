#include "quantize/allocate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace lowbit {
namespace {

using Problem = std::vector<std::vector<Choice>>;

/// Losses that fall about fourfold a bit, as quantization's do, with some noise: choices off the hull occur.
Problem random_problem(std::mt19937& random, size_t tensors, size_t choices) {
  std::uniform_real_distribution<double> unit(0, 1);
  Problem out(tensors);
  for (std::vector<Choice>& tensor : out) {
    const double size = std::pow(2, 4 + 6 * unit(random)), gain = std::pow(10, -2 * unit(random));
    for (size_t i = 0; i < choices; ++i) {
      const double bits = 2 + 6 * unit(random);
      tensor.push_back({static_cast<uint64_t>(size * bits), gain * std::pow(4, -bits) * (0.7 + 0.6 * unit(random))});
    }
  }
  return out;
}

template <typename Visit>
void every_choice(const Problem& problem, const Visit& visit) {
  std::vector<size_t> at(problem.size());
  for (;;) {
    uint64_t bytes = 0;
    double loss = 0;
    for (size_t t = 0; t < problem.size(); ++t) {
      bytes += problem[t][at[t]].bytes;
      loss += problem[t][at[t]].loss;
    }
    visit(bytes, loss);
    size_t t = 0;
    while (t < at.size() && ++at[t] == problem[t].size()) at[t++] = 0;
    if (t == at.size()) return;
  }
}

/// The most that one tensor can change: how far from the optimum the greedy part may stop.
template <typename T>
T largest_range(const Problem& problem, T Choice::*member) {
  T out{};
  for (const std::vector<Choice>& tensor : problem) {
    out = std::max(out, std::ranges::max(tensor, {}, member).*member - std::ranges::min(tensor, {}, member).*member);
  }
  return out;
}

TEST(Allocate, LeastLossIsTheBestOfAllChoicesOrNearIt) {
  std::mt19937 random(1);
  int optimal = 0, cases = 0;
  double ratios = 0;
  for (int i = 0; i < 200; ++i) {
    const Problem problem = random_problem(random, 5, 4);
    uint64_t least = ~uint64_t{0}, most = 0;
    every_choice(problem, [&](uint64_t bytes, double) {
      least = std::min(least, bytes);
      most = std::max(most, bytes);
    });
    const uint64_t limit = least + (most - least) * static_cast<uint64_t>(random() % 100) / 100;
    double best = INFINITY;
    every_choice(problem, [&](uint64_t bytes, double loss) {
      if (bytes <= limit) best = std::min(best, loss);
    });
    const auto found = least_loss(problem, limit);
    ASSERT_TRUE(found);
    EXPECT_LE(found->bytes, limit);
    EXPECT_GE(found->loss, best * (1 - 1e-9));
    EXPECT_LE(found->loss, best + largest_range(problem, &Choice::loss)) << "case " << i;
    ratios += found->loss / best;
    optimal += found->loss <= best * (1 + 1e-9);
    ++cases;
  }
  EXPECT_GE(optimal, cases * 85 / 100);
  EXPECT_LE(ratios / cases, 1.1);
}

TEST(Allocate, FewestBytesIsTheBestOfAllChoicesOrNearIt) {
  std::mt19937 random(2);
  int optimal = 0, cases = 0;
  double ratios = 0;
  for (int i = 0; i < 200; ++i) {
    const Problem problem = random_problem(random, 5, 4);
    double least = INFINITY, most = 0;
    every_choice(problem, [&](uint64_t, double loss) {
      least = std::min(least, loss);
      most = std::max(most, loss);
    });
    const double limit = least + (most - least) * std::pow(10, -3.0 * static_cast<double>(random() % 100) / 100);
    uint64_t best = ~uint64_t{0};
    every_choice(problem, [&](uint64_t bytes, double loss) {
      if (loss <= limit) best = std::min(best, bytes);
    });
    const auto found = fewest_bytes(problem, limit);
    ASSERT_TRUE(found);
    EXPECT_LE(found->loss, limit * (1 + 1e-12));
    EXPECT_GE(found->bytes, best);
    EXPECT_LE(found->bytes, best + largest_range(problem, &Choice::bytes)) << "case " << i;
    ratios += static_cast<double>(found->bytes) / static_cast<double>(best);
    optimal += found->bytes == best;
    ++cases;
  }
  EXPECT_GE(optimal, cases * 85 / 100);
  EXPECT_LE(ratios / cases, 1.1);
}

TEST(Allocate, FillsTheLimitOfAModelsSizeWithinOneStep) {
  std::mt19937 random(3);
  const Problem problem = random_problem(random, 300, 7);
  uint64_t least = 0, most = 0;
  for (const auto& tensor : problem) {
    least += std::ranges::min(tensor, {}, &Choice::bytes).bytes;
    most += std::ranges::max(tensor, {}, &Choice::bytes).bytes;
  }
  double before = INFINITY;
  for (int percent = 0; percent <= 100; percent += 5) {
    const uint64_t limit = least + (most - least) * static_cast<uint64_t>(percent) / 100;
    const auto found = least_loss(problem, limit);
    ASSERT_TRUE(found);
    EXPECT_LE(found->bytes, limit);
    EXPECT_LE(found->loss, before);
    if (percent > 0 && percent < 60) {
      EXPECT_GT(static_cast<double>(found->bytes), 0.999 * static_cast<double>(limit)) << percent;
    }
    before = found->loss;
  }
}

TEST(Allocate, ALimitThatNothingKeepsGivesNone) {
  const Problem problem = {{{10, 0.1}, {5, 0.2}}, {{7, 0.3}}};
  EXPECT_FALSE(least_loss(problem, 11));
  EXPECT_EQ(least_loss(problem, 12)->chosen, (std::vector<size_t>{1, 0}));
  EXPECT_EQ(least_loss(problem, 17)->chosen, (std::vector<size_t>{0, 0}));
  EXPECT_FALSE(fewest_bytes(problem, 0.39));
  EXPECT_EQ(fewest_bytes(problem, 0.41)->chosen, (std::vector<size_t>{0, 0}));
  EXPECT_EQ(fewest_bytes(problem, 0.6)->bytes, 12u);
}

TEST(Allocate, AChoiceThatIsLargerAndWorseIsNeverTaken) {
  const Problem problem = {{{10, 0.5}, {20, 0.6}, {30, 0.1}}, {{10, 0.5}, {20, 0.4}, {40, 0.4}}};
  for (uint64_t limit = 20; limit < 100; ++limit) {
    const auto found = least_loss(problem, limit);
    ASSERT_TRUE(found);
    EXPECT_NE(found->chosen[0], 1u);
    EXPECT_NE(found->chosen[1], 2u);
  }
}

}  // namespace
}  // namespace lowbit

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernel/support.h"

namespace lowbit {
namespace {

using test::random_floats;
using test::same_bits;

struct Case {
  int heads, kv_heads, head_dim;
  int64_t position, tokens, window;
  KvType type = KvType::F16;
};

/// Keys and values [kv_head][position][head_dim].
struct Data {
  std::vector<float> q, k, v;
};

int64_t plane(const Case& c) { return (c.position + c.tokens) * c.head_dim; }
size_t kv_at(const Case& c, int head, int64_t position) {
  return static_cast<size_t>(head * plane(c) + position * c.head_dim);
}

Data random_data(const Case& c) {
  Data d;
  d.q = random_floats(c.tokens * c.heads * c.head_dim, 1);
  d.k = random_floats(c.kv_heads * plane(c), 2);
  d.v = random_floats(c.kv_heads * plane(c), 3);
  return d;
}

/// What a cache of this type makes of rows of a head: the definition of each type.
float stored(KvType type, const float* row, int64_t i) {
  if (type == KvType::F16) return f16_to_f32(f32_to_f16(row[i]));
  if (type == KvType::BF16) return bf16_to_f32(f32_to_bf16(row[i]));
  const float* block = row + i / 32 * 32;
  float most = 0;
  for (int j = 0; j < 32; ++j) most = std::max(most, std::abs(block[j]));
  return std::nearbyint(row[i] * (127 / most)) * f16_to_f32(f32_to_f16(most / 127));
}

/// A head as attention reads it; NaN where there are no positions.
struct Head {
  Head(const Kernels& k, const Case& c, const Data& d, int head) {
    const int64_t positions = c.position + c.tokens, blocks = (positions + kKeyBlock - 1) / kKeyBlock;
    keys.resize(static_cast<size_t>(blocks * key_block_bytes(c.type, c.head_dim)), 0xff);
    values.resize(static_cast<size_t>(blocks * kKeyBlock * value_bytes(c.type, c.head_dim)), 0xff);
    for (int64_t p = 0; p < positions; ++p) {
      store_position(k, c.type, &d.k[kv_at(c, head, p)], &d.v[kv_at(c, head, p)], c.head_dim, p, keys.data(),
                     values.data());
    }
  }
  std::vector<uint8_t> keys, values;
};

/// The heads of a case; `first` and `tokens` narrow it down.
struct Heads {
  Heads(const Kernels& k, const Case& c, const Data& d, float* out, int64_t first, int64_t tokens) {
    const int64_t group = c.heads / c.kv_heads, at = first * c.heads * c.head_dim;
    for (int h = 0; h < c.kv_heads; ++h) {
      heads.emplace_back(k, c, d, h);
      const int64_t head = at + h * group * c.head_dim;
      args.push_back({d.q.data() + head, heads.back().keys.data(), heads.back().values.data(), out + head,
                      static_cast<int>(group), c.head_dim, c.position + first, tokens, int64_t{c.heads} * c.head_dim,
                      c.window, 1 / std::sqrt(static_cast<float>(c.head_dim)), c.type, nullptr});
    }
  }
  std::vector<Head> heads;
  std::vector<AttentionArgs> args;
};

std::vector<float> attended(const Kernels& k, const Case& c, const Data& d, ThreadPool& pool) {
  std::vector<float> out(d.q.size(), -777.0f);
  attend(k, Heads(k, c, d, out.data(), 0, c.tokens).args, pool);
  return out;
}

std::vector<double> exact(const Case& c, const Data& d) {
  std::vector<double> out(d.q.size(), 0.0);
  const double scale = 1 / std::sqrt(static_cast<double>(c.head_dim));
  for (int64_t t = 0; t < c.tokens; ++t) {
    const int64_t last = c.position + t, first = c.window > 0 ? std::max<int64_t>(0, last - c.window + 1) : 0;
    for (int h = 0; h < c.heads; ++h) {
      const int64_t q = (t * c.heads + h) * c.head_dim;
      std::vector<double> scores;
      for (int64_t p = first; p <= last; ++p) {
        const size_t kv = kv_at(c, h / (c.heads / c.kv_heads), p);
        double s = 0;
        for (int i = 0; i < c.head_dim; ++i) {
          s += static_cast<double>(d.q[static_cast<size_t>(q + i)]) * static_cast<double>(stored(c.type, &d.k[kv], i));
        }
        scores.push_back(s * scale);
      }
      const double top = *std::max_element(scores.begin(), scores.end());
      double total = 0;
      for (double& s : scores) total += s = std::exp(s - top);
      for (int64_t p = first; p <= last; ++p) {
        const size_t kv = kv_at(c, h / (c.heads / c.kv_heads), p);
        for (int i = 0; i < c.head_dim; ++i) {
          out[static_cast<size_t>(q + i)] +=
              scores[static_cast<size_t>(p - first)] / total * static_cast<double>(stored(c.type, &d.v[kv], i));
        }
      }
    }
  }
  return out;
}

const Case kCases[] = {
    {1, 1, 8, 0, 1, 0},
    {2, 1, 16, 0, 5, 0},
    {3, 3, 20, 3, 70, 0},
    {9, 3, 64, 0, 130, 0},
    {4, 2, 64, 60, 10, 0},
    {8, 1, 128, 200, 3, 0},
    {4, 4, 80, 0, 33, 16},
    {6, 2, 64, 100, 140, 70},
    {2, 2, 64, 500, 1, 128},
    {14, 2, 64, 63, 1, 0},
    {5, 1, 256, 64, 2, 0},
    {2, 1, 64, 127, 66, 64},
    {6, 2, 64, 1500, 1, 0},
    {6, 2, 64, 510, 5, 0},
    {4, 4, 72, 1020, 70, 600},
    {3, 3, 20, 3, 70, 0, KvType::BF16},
    {6, 2, 64, 510, 5, 0, KvType::BF16},
    {9, 3, 64, 0, 130, 0, KvType::Q8_0},
    {8, 1, 128, 700, 1, 100, KvType::Q8_0},
    {3, 1, 64, 1100, 1, 0, KvType::Q8_0},
    {2, 1, 576, 70, 3, 0, KvType::Q8_0},
    {2, 1, 576, 70, 9, 0, KvType::Q8_0},
};

TEST(Attention, FollowsItsDefinition) {
  ThreadPool pool(2);
  for (const Case& c : kCases) {
    const Data d = random_data(c);
    const auto want = exact(c, d);
    for (const Kernels* k : all_kernels()) {
      const auto out = attended(*k, c, d, pool);
      double worst = 0;
      for (size_t i = 0; i < out.size(); ++i) worst = std::max(worst, std::abs(out[i] - want[i]));
      // Of many positions some score high, and long heads add up more: binary32 rounds those more coarsely.
      EXPECT_LT(worst, c.position + c.tokens <= 512 && c.head_dim <= 256 ? 2e-5 : 1e-4)
          << k->name << " head_dim " << c.head_dim << " position " << c.position;
    }
  }
}

TEST(Attention, EveryInstructionSetGivesTheSameBits) {
  ThreadPool pool(2);
  for (const Case& c : kCases) {
    const Data d = random_data(c);
    const auto want = attended(*all_kernels().front(), c, d, pool);
    for (const Kernels* k : all_kernels()) EXPECT_TRUE(same_bits(attended(*k, c, d, pool), want)) << k->name;
  }
}

TEST(Attention, BatchesAndThreadsChangeNothing) {
  ThreadPool one(1), four(4);
  for (const Case& c : kCases) {
    const Data d = random_data(c);
    for (const Kernels* k : all_kernels()) {
      const auto want = attended(*k, c, d, one);
      EXPECT_TRUE(same_bits(attended(*k, c, d, four), want)) << k->name;
      std::vector<float> out(want.size());
      for (int64_t t = 0; t < c.tokens; ++t) attend(*k, Heads(*k, c, d, out.data(), t, 1).args, one);
      EXPECT_TRUE(same_bits(out, want)) << k->name << " head_dim " << c.head_dim << " position " << c.position;
    }
  }
}

/// What lies beyond a token's own position (later tokens of its batch, or memory never written) does not reach it.
TEST(Attention, NeverLooksAhead) {
  ThreadPool pool(2);
  const Case c{6, 2, 64, 10, 90, 0};
  Data d = random_data(c);
  for (const Kernels* k : all_kernels()) {
    const auto want = attended(*k, c, d, pool);
    Data spoiled = d;
    for (int h = 0; h < c.kv_heads; ++h) {
      for (size_t i = kv_at(c, h, 70); i < kv_at(c, h + 1, 0); ++i) spoiled.k[i] = spoiled.v[i] = std::nanf("");
    }
    const auto out = attended(*k, c, spoiled, pool);
    const size_t safe = 60 * static_cast<size_t>(c.heads) * 64;
    EXPECT_TRUE(std::equal(out.begin(), out.begin() + static_cast<int64_t>(safe), want.begin())) << k->name;
    EXPECT_TRUE(std::isnan(out[safe])) << k->name;
  }
}

TEST(Attention, SeveralSequencesAtOnce) {
  ThreadPool pool(3);
  const Case a{4, 2, 64, 0, 20, 0}, b{4, 2, 64, 77, 1, 0};
  const Data da = random_data(a), db = random_data(b);
  std::vector<float> out_a(da.q.size()), out_b(db.q.size());
  const Heads heads_a(kernels(), a, da, out_a.data(), 0, a.tokens),
      heads_b(kernels(), b, db, out_b.data(), 0, b.tokens);
  std::vector<AttentionArgs> all = heads_a.args;
  all.insert(all.end(), heads_b.args.begin(), heads_b.args.end());
  attend(kernels(), all, pool);
  EXPECT_TRUE(same_bits(out_a, attended(kernels(), a, da, pool)));
  EXPECT_TRUE(same_bits(out_b, attended(kernels(), b, db, pool)));
}

}  // namespace
}  // namespace lowbit

#include "model/transformer.h"

#include <gmock/gmock.h>

#include <cstring>
#include <limits>

#include "base/error.h"
#include "model/tiny_model.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

std::vector<int32_t> random_tokens(int64_t count, int64_t vocab, unsigned seed = 5) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (int32_t& t : tokens) t = std::uniform_int_distribution<int32_t>(0, static_cast<int32_t>(vocab) - 1)(random);
  return tokens;
}

std::vector<float> run(Transformer& model, std::span<const int32_t> tokens, KvCache& cache) {
  const Segment segment{tokens, &cache};
  return model.forward({&segment, 1});
}

std::vector<float> run(Transformer& model, std::span<const int32_t> tokens) {
  KvCache cache(model.config(), static_cast<int64_t>(tokens.size()));
  return run(model, tokens, cache);
}

std::vector<float> logits(Transformer& model, std::span<const int32_t> tokens) {
  const std::vector<float> hidden = run(model, tokens);
  const int64_t n = static_cast<int64_t>(tokens.size());
  std::vector<float> out(static_cast<size_t>(n * model.config().vocab));
  model.logits(hidden.data(), n, out.data());
  return out;
}

double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
  double error = 0, total = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    error += (a[i] - b[i]) * static_cast<double>(a[i] - b[i]);
    total += b[i] * static_cast<double>(b[i]);
  }
  return std::sqrt(error / total);
}

struct Arithmetic {
  EncodingId encoding;
  ActivationRounding rounding;
};
/// However weights are stored and activations rounded, results must be exactly invariant.
class Invariance : public testing::TestWithParam<Arithmetic> {
 protected:
  Invariance()
      : tiny_([] {
          TinyOptions o;
          o.config = tiny_config(256, 2, 80);
          o.matrices = &encoding(GetParam().encoding);
          return o;
        }()) {}
  Transformer model(ThreadPool& pool) const { return {tiny_.source, pool, GetParam().rounding}; }

  TinyModel tiny_;
};

TEST_P(Invariance, ResultsDoNotDependOnThreads) {
  const std::vector<int32_t> tokens = random_tokens(70, 80);
  ThreadPool one(1), two(2), five(5);
  Transformer a = model(one), b = model(two), c = model(five);
  const std::vector<float> expected = logits(a, tokens);
  EXPECT_EQ(logits(b, tokens), expected);
  EXPECT_EQ(logits(c, tokens), expected);
}

TEST_P(Invariance, ResultsDoNotDependOnHowTokensAreSpreadOverCalls) {
  const std::vector<int32_t> tokens = random_tokens(45, 80);
  ThreadPool pool(2);
  Transformer transformer = model(pool);
  const std::vector<float> expected = run(transformer, tokens);
  for (const size_t step : {size_t{1}, size_t{7}, size_t{44}}) {
    KvCache cache(transformer.config(), 45);
    std::vector<float> pieces;
    for (size_t i = 0; i < tokens.size(); i += step) {
      const std::vector<float> piece =
          run(transformer, std::span(tokens).subspan(i, std::min(step, tokens.size() - i)), cache);
      pieces.insert(pieces.end(), piece.begin(), piece.end());
    }
    EXPECT_EQ(pieces, expected) << "step " << step;
    EXPECT_EQ(cache.size(), 45);
  }
}

TEST_P(Invariance, ResultsDoNotDependOnOtherSequencesOfTheBatch) {
  ThreadPool pool(2);
  Transformer transformer = model(pool);
  const int64_t lengths[] = {3, 40, 1, 17};
  std::vector<std::vector<int32_t>> tokens;
  std::vector<KvCache> caches;
  std::vector<Segment> segments;
  std::vector<float> expected;
  for (const int64_t n : lengths) {
    tokens.push_back(random_tokens(n, 80, static_cast<unsigned>(n)));
    caches.emplace_back(transformer.config(), n + 2);
    const std::vector<float> alone = run(transformer, tokens.back());
    expected.insert(expected.end(), alone.begin(), alone.end());
  }
  for (size_t i = 0; i < tokens.size(); ++i) segments.push_back({tokens[i], &caches[i]});
  EXPECT_EQ(transformer.forward(segments), expected);
}

/// Products of so many tokens are shared out over tokens as well as rows.
TEST_P(Invariance, LongPromptsGiveWhatTheirPiecesGive) {
  const std::vector<int32_t> tokens = random_tokens(389, 80);
  ThreadPool one(1), five(5);
  Transformer a = model(one), b = model(five);
  KvCache cache(a.config(), 389);
  std::vector<float> pieces;
  for (size_t i = 0; i < tokens.size(); i += 100) {
    const auto piece = run(a, std::span(tokens).subspan(i, std::min<size_t>(100, tokens.size() - i)), cache);
    pieces.insert(pieces.end(), piece.begin(), piece.end());
  }
  EXPECT_EQ(run(a, tokens), pieces);
  EXPECT_EQ(run(b, tokens), pieces);
}

INSTANTIATE_TEST_SUITE_P(Encodings, Invariance, testing::ValuesIn([] {
                           std::vector<Arithmetic> out;
                           for (const EncodingId id :
                                {EncodingId::F32, EncodingId::F16, EncodingId::Q4_K, EncodingId::Q6_K, EncodingId::Q8_0,
                                 EncodingId::Q2_K, EncodingId::IQ4_XS}) {
                             out.push_back({id, ActivationRounding::Fine});
                           }
                           for (const EncodingId id :
                                {EncodingId::BF16, EncodingId::F16, EncodingId::Q2_K, EncodingId::Q3_K,
                                 EncodingId::Q4_K, EncodingId::Q5_K, EncodingId::Q6_K, EncodingId::IQ4_XS}) {
                             out.push_back({id, ActivationRounding::Fast});
                           }
                           return out;
                         }()),
                         [](const auto& p) {
                           const bool fast = p.param.rounding == ActivationRounding::Fast;
                           return std::string(encoding(p.param.encoding).name) + (fast ? "_fast" : "");
                         });

class Transform : public testing::Test {
 protected:
  static TinyOptions options() {
    TinyOptions o;
    o.config = tiny_config();
    return o;
  }
  ThreadPool pool_{2};
};

TEST_F(Transform, LongInputsGoThroughInSlices) {
  TinyModel tiny(options());
  Transformer model(tiny.source, pool_);
  const std::vector<int32_t> tokens = random_tokens(2 * Transformer::kSliceTokens + 9, 96);
  const std::vector<float> all = run(model, tokens);
  KvCache cache(model.config(), static_cast<int64_t>(tokens.size()));
  const std::vector<float> head = run(model, std::span(tokens).first(700), cache);
  const std::vector<float> tail = run(model, std::span(tokens).subspan(700), cache);
  EXPECT_TRUE(std::equal(head.begin(), head.end(), all.begin()));
  EXPECT_TRUE(std::equal(tail.rbegin(), tail.rend(), all.rbegin()));
}

TEST_F(Transform, OnlyWantedOutputsAreReturnedAndTheyAreTheSame) {
  TinyModel tiny(options());
  Transformer model(tiny.source, pool_);
  const std::vector<int32_t> tokens = random_tokens(600, 96);
  const std::vector<float> all = run(model, tokens);
  KvCache a(model.config(), 600), b(model.config(), 600);
  const Segment segments[] = {{tokens, &a, 597}, {std::span(tokens).first(20), &b, 20}};
  const std::vector<float> last = model.forward(segments);
  ASSERT_EQ(last.size(), 3u * 64);
  EXPECT_TRUE(std::equal(last.rbegin(), last.rend(), all.rbegin()));
  // Skipped outputs still filled the caches.
  EXPECT_EQ(b.size(), 20);
  const std::vector<float> next = run(model, std::span(tokens).subspan(20, 1), b);
  EXPECT_TRUE(std::equal(next.begin(), next.end(), all.begin() + 20 * 64));
}

TEST_F(Transform, TruncatingACacheForgets) {
  TinyModel tiny(options());
  Transformer model(tiny.source, pool_);
  const std::vector<int32_t> tokens = random_tokens(12, 96), other = random_tokens(12, 96, 99);
  KvCache cache(model.config(), 12);
  run(model, other, cache);
  cache.truncate(0);
  EXPECT_EQ(run(model, tokens, cache), run(model, tokens));
}

TEST_F(Transform, ASlidingWindowHidesWhatIsOlder) {
  TinyOptions o = options();
  o.config.layers = 1;  // several layers would carry older tokens forward
  o.config.sliding_window = 4;
  TinyModel tiny(o);
  Transformer model(tiny.source, pool_);
  std::vector<int32_t> tokens = random_tokens(10, 96), changed = tokens;
  changed[5] = (tokens[5] + 1) % 96;
  const std::vector<float> a = run(model, tokens), b = run(model, changed);
  const auto same = [&](int64_t t) { return std::equal(&a[t * 64], &a[t * 64] + 64, &b[t * 64]); };
  for (int64_t t = 0; t < 10; ++t) EXPECT_EQ(same(t), t < 5 || t > 8) << t;
}

TEST_F(Transform, GgufsInterleavedRowsGiveTheSameBits) {
  for (const bool biases : {false, true}) {
    TinyOptions o = options();
    o.biases = biases;
    TinyModel hf(o);
    o.gguf = true;
    TinyModel gguf(o);
    Transformer a(hf.source, pool_), b(gguf.source, pool_);
    const std::vector<int32_t> tokens = random_tokens(20, 96);
    EXPECT_EQ(run(a, tokens), run(b, tokens));
  }
}

/// Another store's tensors, the columns of its matrices shuffled and told so.
class ShuffledStore : public MemoryStore {
 public:
  explicit ShuffledStore(const TensorStore& other) {
    std::mt19937 random(3);
    for (TensorInfo info : other.tensors()) {
      const auto data = other.data(info);
      std::vector<float> values(data.size() / sizeof(float));
      std::memcpy(values.data(), data.data(), data.size());
      if (info.shape.size() == 2) {
        auto stored = std::make_shared<StoredAs>();
        const auto cols = static_cast<size_t>(info.cols());
        for (size_t c = 0; c < cols; ++c) stored->column_order.push_back(static_cast<int32_t>(c));
        std::shuffle(stored->column_order.begin(), stored->column_order.end(), random);
        const std::vector<float> plain = values;
        for (size_t i = 0; i < values.size(); ++i) {
          values[i] = plain[i / cols * cols + static_cast<size_t>(stored->column_order[i % cols])];
        }
        info.stored = std::move(stored);
      }
      put(info.name, info.shape, *info.encoding, as_bytes(values), info.stored);
    }
  }
};

TEST_F(Transform, ColumnsInActivationOrderGiveTheSameResults) {
  TinyOptions o;
  o.config = tiny_config(64, 2, 80);
  TinyModel plain(o), shuffled(o);
  shuffled.source.store = std::make_unique<ShuffledStore>(*plain.source.store);
  ThreadPool pool(2);
  Transformer a(plain.source, pool), b(shuffled.source, pool);
  const std::vector<int32_t> tokens = random_tokens(40, 80);
  EXPECT_LT(relative_error(logits(b, tokens), logits(a, tokens)), 2e-5);
}

TEST_F(Transform, TiedEmbeddingsAreTheOutputMatrix) {
  TinyOptions o = options();
  TinyModel untied(o);
  untied.store().bytes(untied.source.name({Role::Output})) =
      untied.store().bytes(untied.source.name({Role::TokenEmbedding}));
  o.config.tied_embeddings = true;
  TinyModel tied(o);
  Transformer a(untied.source, pool_), b(tied.source, pool_);
  const std::vector<int32_t> tokens = random_tokens(5, 96);
  EXPECT_EQ(logits(a, tokens), logits(b, tokens));
}

TEST_F(Transform, TypesOfCacheAgreeButForRounding) {
  TinyModel tiny(options());
  Transformer model(tiny.source, pool_);
  const std::vector<int32_t> tokens = random_tokens(50, 96);
  KvCache exact(model.config(), 50, KvType::F32);
  const std::vector<float> wanted = run(model, tokens, exact);
  for (const auto& [type, most] : {std::pair(KvType::F16, 5e-3), std::pair(KvType::BF16, 4e-2)}) {
    KvCache rounded(model.config(), 50, type);
    const double error = relative_error(run(model, tokens, rounded), wanted);
    EXPECT_GT(error, 0) << name(type);
    EXPECT_LT(error, most) << name(type);
  }
}

TEST_F(Transform, MistakesAreErrorsAndLeaveCachesAsTheyWere) {
  TinyModel tiny(options());
  Transformer model(tiny.source, pool_);
  KvCache cache(model.config(), 4);
  const auto message = [&](const std::vector<int32_t>& tokens) -> std::string {
    try {
      run(model, tokens, cache);
    } catch (const Error& e) {
      return e.what();
    }
    return "none";
  };
  EXPECT_THAT(message({1, 96}), HasSubstr("token 96"));
  EXPECT_THAT(message({1, -1}), HasSubstr("token -1"));
  EXPECT_THAT(message({1, 2, 3, 4, 5}), HasSubstr("no room for 5"));
  EXPECT_EQ(cache.size(), 0);
  EXPECT_EQ(message({1, 2, 3}), "none");
  EXPECT_THAT(message({1, 2}), HasSubstr("no room for 2 more after 3"));
  EXPECT_EQ(cache.size(), 3);
}

TEST_F(Transform, AMatrixOfTheWrongShapeIsNamed) {
  TinyOptions o = options();
  TinyModel tiny(o);
  tiny.source.config.ffn += 16;
  try {
    const Transformer model(tiny.source, pool_);
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("gate_proj"));
  }
}

TEST_F(Transform, ATapSeesTheInputsOfEveryMatrix) {
  struct Recorder : Tap {
    void input(const WeightId& id, const float* x, int64_t tokens, int64_t cols) override {
      names.push_back(hf_name(id));
      sizes.push_back(tokens * cols);
      if (id.role == Role::Q && id.layer == 0) q.assign(x, x + tokens * cols);
      if (id.role == Role::V && id.layer == 0) v.assign(x, x + tokens * cols);
    }
    std::vector<std::string> names;
    std::vector<int64_t> sizes;
    std::vector<float> q, v;
  } tap;
  TinyOptions o = options();
  o.config.layers = 1;
  TinyModel tiny(o);
  Transformer model(tiny.source, pool_);
  KvCache cache(model.config(), 3);
  const std::vector<int32_t> tokens{1, 2, 3};
  const Segment segment{tokens, &cache};
  model.forward({&segment, 1}, &tap);
  const std::string p = "model.layers.0.";
  EXPECT_THAT(tap.names,
              testing::ElementsAre(p + "self_attn.q_proj.weight", p + "self_attn.k_proj.weight",
                                   p + "self_attn.v_proj.weight", p + "self_attn.o_proj.weight",
                                   p + "mlp.gate_proj.weight", p + "mlp.up_proj.weight", p + "mlp.down_proj.weight"));
  EXPECT_THAT(tap.sizes, testing::Each(3 * 64));
  EXPECT_EQ(tap.q, tap.v);
  // The first block's input is the normed embedding, which can be computed by hand.
  std::vector<float> row(64), norm(64);
  read_rows(tiny.store(), *tiny.source.find({Role::TokenEmbedding}), 2, 1, row.data());
  read_rows(tiny.store(), *tiny.source.find({Role::AttentionNorm, 0}), 0, 1, norm.data());
  double squares = 0;
  for (const float x : row) squares += static_cast<double>(x) * x;
  for (size_t i = 0; i < 64; ++i) {
    EXPECT_NEAR(tap.q[64 + i], row[i] / std::sqrt(squares / 64 + 1e-5) * norm[i], 1e-5);
  }
}

/// The packed product against a plain one on what the encoding decodes to. Activations are rounded to 8 bits in groups
/// of 32 for the block encodings: about 1/300 of a product, of which sharp attention over random weights makes up to
/// 1/40 of the logits. Binary16 and bfloat16 weights multiply exactly.
class PackedForward : public testing::TestWithParam<EncodingId> {};

TEST_P(PackedForward, EqualsTheForwardPassOnDecodedWeights) {
  const Encoding& e = encoding(GetParam());
  TinyOptions o;
  o.config = tiny_config(256, 2, 300);
  o.matrices = &e;
  TinyModel packed(o);
  o.decoded = true;
  TinyModel decoded(o);
  ThreadPool pool(2);
  Transformer a(packed.source, pool), b(decoded.source, pool);
  const std::vector<int32_t> tokens = random_tokens(24, 300);
  const double error = relative_error(logits(a, tokens), logits(b, tokens));
  EXPECT_LE(error, e.kind == EncodingKind::Float ? 1e-5 : 0.04);
  RecordProperty("error", std::to_string(error));
}

INSTANTIATE_TEST_SUITE_P(Encodings, PackedForward,
                         testing::Values(EncodingId::F16, EncodingId::BF16, EncodingId::Q4_0, EncodingId::Q4_1,
                                         EncodingId::Q5_0, EncodingId::Q5_1, EncodingId::Q8_0, EncodingId::Q2_K,
                                         EncodingId::Q3_K, EncodingId::Q4_K, EncodingId::Q5_K, EncodingId::Q6_K,
                                         EncodingId::IQ4_NL, EncodingId::IQ4_XS),
                         [](const auto& p) { return std::string(encoding(p.param).name); });

TEST(LlamaCppScales, CoarsenOnlyWhereLlamaCppDoes) {
  ThreadPool pool(2);
  const std::vector<int32_t> tokens = random_tokens(24, 300);
  for (const EncodingId id : {EncodingId::F16, EncodingId::Q8_0, EncodingId::Q4_K, EncodingId::IQ4_XS}) {
    TinyOptions o;
    o.config = tiny_config(256, 2, 300);
    o.matrices = &encoding(id);
    TinyModel packed(o);
    o.decoded = true;
    TinyModel decoded(o);
    Transformer fine(packed.source, pool), coarse(packed.source, pool, ActivationRounding::LlamaCpp);
    Transformer exact(decoded.source, pool);
    const std::vector<float> a = logits(fine, tokens), b = logits(coarse, tokens), c = logits(exact, tokens);
    if (encoding(id).block < 256) {
      EXPECT_EQ(a, b);
    } else {
      EXPECT_GT(relative_error(b, c), relative_error(a, c));
      EXPECT_LT(relative_error(b, c), 0.1);
    }
  }
}

TEST(KvCacheTest, RepeatsWhatItHolds) {
  TinyOptions options;
  options.config = tiny_config(256, 2, 80);
  TinyModel tiny(options);
  ThreadPool pool(2);
  Transformer model(tiny.source, pool);
  const ModelConfig& c = model.config();
  for (const KvType type : {KvType::F16, KvType::Q8_0, KvType::F32}) {
    KvCache cache(c, 200, type);
    run(model, random_tokens(kKeyBlock, c.vocab), cache);
    cache.repeat(150, pool);
    EXPECT_EQ(cache.size(), 150);
    const auto block = static_cast<size_t>(kv_bytes(type, c.head_dim) / 2 * kKeyBlock);
    for (int64_t layer = 0; layer < c.layers; ++layer) {
      for (int64_t head = 0; head < c.kv_heads; ++head) {
        for (const uint8_t* first : {cache.keys(layer, head), cache.values(layer, head)}) {
          EXPECT_EQ(std::memcmp(first, first + block, block), 0);
          EXPECT_EQ(std::memcmp(first, first + 2 * block, block), 0);
        }
      }
    }
    run(model, random_tokens(50, c.vocab), cache);  // goes on from there
    EXPECT_EQ(cache.size(), 200);
  }
}

TEST(KvCacheTest, RefusesWhatCannotBeHeld) {
  const ModelConfig c = tiny_config();
  EXPECT_THROW(KvCache(c, int64_t{1} << 60), Error);
  EXPECT_THROW(KvCache(c, -1), Error);
  EXPECT_THROW(KvCache(c, std::numeric_limits<int64_t>::max()), Error);
  EXPECT_EQ(KvCache(c, 10).bytes(), 2u * 2 * 2 * 2 * 16 * 64);  // whole blocks of keys
  EXPECT_EQ(KvCache(c, 65, KvType::F32).bytes(), 2u * 2 * 2 * 4 * 16 * 128);
  EXPECT_THROW(KvCache(c, 10, KvType::Q8_0), Error);  // heads of 16
}

}  // namespace
}  // namespace lowbit

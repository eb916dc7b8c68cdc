#include "quantize/mixture.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace lowbit {
namespace {

struct Shape {
  const char* file;
  int64_t hidden, heads, kv_heads;
};

class MixtureGolden : public testing::TestWithParam<Shape> {};

// Each line was read from a file that stock llama-quantize wrote (tools/goldens/mixtures.py).
TEST_P(MixtureGolden, EqualsLlamaQuantize) {
  const Shape shape = GetParam();
  ModelConfig config;
  config.layers = 30;
  config.heads = shape.heads;
  config.kv_heads = shape.kv_heads;
  config.tied_embeddings = true;
  std::ifstream in(std::string(LOWBIT_TEST_DATA "/mixtures/") + shape.file);
  ASSERT_TRUE(in);
  int checked = 0;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string type, kind, tensor, expected;
    words >> type >> kind >> tensor;
    const Mixture* mixture = find_mixture(type);
    ASSERT_NE(mixture, nullptr) << type;
    for (int layer = 0; words >> expected; ++layer) {
      const bool block = tensor != "token_embd";
      const auto id =
          from_gguf_name(block ? "blk." + std::to_string(layer) + "." + tensor + ".weight" : tensor + ".weight");
      ASSERT_TRUE(id) << tensor;
      const int64_t cols = id->role == Role::Down ? 1536 : shape.hidden;
      EncodingId got = wanted_encoding(*mixture, config, kind == "imatrix", *id, cols);
      if (cols % encoding(got).block != 0) got = fallback_encoding(got, cols);
      EXPECT_EQ(encoding(got).name, expected) << line.substr(0, 40) << " layer " << layer;
      ++checked;
    }
  }
  EXPECT_EQ(checked, 34 * (30 * 7 + 1));
}

INSTANTIATE_TEST_SUITE_P(Shapes, MixtureGolden,
                         testing::Values(Shape{"smollm2-135m-768.txt", 768, 12, 4},
                                         Shape{"smollm2-135m.txt", 576, 9, 3}),
                         [](const auto& row) { return std::string("Hidden") + std::to_string(row.param.hidden); });

TEST(Mixture, WideGroupsGetBetterV) {
  ModelConfig config;
  config.layers = 32;
  config.heads = 32;
  config.kv_heads = 8;
  const WeightId v{Role::V, 5};
  EXPECT_EQ(wanted_encoding(*find_mixture("Q2_K"), config, false, v, 4096), EncodingId::Q4_K);
  EXPECT_EQ(wanted_encoding(*find_mixture("iq4_xs"), config, false, v, 4096), EncodingId::Q5_K);
  config.layers = 80;
  EXPECT_EQ(wanted_encoding(*find_mixture("Q3_K_S"), config, false, v, 8192), EncodingId::Q5_K);
}

TEST(Mixture, UntiedEmbeddingGetsTheBaseEncoding) {
  ModelConfig config;
  config.layers = 32;
  config.heads = config.kv_heads = 32;
  const Mixture& mixture = *find_mixture("Q4_K_M");
  EXPECT_EQ(wanted_encoding(mixture, config, false, {Role::TokenEmbedding}, 4096), EncodingId::Q4_K);
  EXPECT_EQ(wanted_encoding(mixture, config, false, {Role::Output}, 4096), EncodingId::Q6_K);
}

TEST(Mixture, FallbackOfFallbackIsF16) {
  EXPECT_EQ(fallback_encoding(EncodingId::Q4_K, 576), EncodingId::Q5_0);
  EXPECT_EQ(fallback_encoding(EncodingId::Q4_K, 100), EncodingId::F16);
  EXPECT_EQ(fallback_encoding(EncodingId::Q8_0, 100), EncodingId::F16);
}

TEST(Mixture, UnknownNames) { EXPECT_EQ(find_mixture("Q4_K_X"), nullptr); }

}  // namespace
}  // namespace lowbit

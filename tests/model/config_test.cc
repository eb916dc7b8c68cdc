#include "model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "model/layout.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

// The published config.json of Llama 3.1 8B, its fields that matter.
Json llama31() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_act", "silu"},
          {"hidden_size", 4096},
          {"intermediate_size", 14336},
          {"num_hidden_layers", 32},
          {"num_attention_heads", 32},
          {"num_key_value_heads", 8},
          {"max_position_embeddings", 131072},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 500000.0},
          {"vocab_size", 128256},
          {"rope_scaling",
           {{"factor", 8.0},
            {"low_freq_factor", 1.0},
            {"high_freq_factor", 4.0},
            {"original_max_position_embeddings", 8192},
            {"rope_type", "llama3"}}},
          {"tie_word_embeddings", false},
          {"torch_dtype", "bfloat16"}};
}

Json edited(const char* key, Json value) {
  Json config = llama31();
  config[key] = std::move(value);
  return config;
}

TEST(Config, ReadsLlama3) {
  const ModelConfig c = config_from_hf(llama31(), "config.json");
  EXPECT_EQ(c.architecture->gguf_name, "llama");
  EXPECT_EQ(c.head_dim, 128);
  EXPECT_FALSE(c.explicit_head_dim);
  EXPECT_EQ(c.kv_heads, 8);
  EXPECT_EQ(c.rope.type, RopeScaling::Type::Llama3);
  EXPECT_EQ(c.sliding_window, 0);
  EXPECT_EQ(c.torch_dtype, "bfloat16");
}

TEST(Config, ReadsTheNewerSpellingOfRope) {
  Json config = llama31();
  config["rope_parameters"] = config["rope_scaling"];
  config["rope_parameters"]["rope_theta"] = 500000.0;
  config.erase("rope_scaling");
  config.erase("rope_theta");
  config.erase("torch_dtype");
  config["dtype"] = "bfloat16";
  const ModelConfig newer = config_from_hf(config, "c"), older = config_from_hf(llama31(), "c");
  EXPECT_EQ(rope_frequencies(newer), rope_frequencies(older));
  EXPECT_EQ(newer.torch_dtype, "bfloat16");
}

// transformers' own figures for this model (ROPE_INIT_FUNCTIONS["llama3"]).
TEST(Config, Llama3FrequenciesAreTransformers) {
  const std::vector<double> f = rope_frequencies(config_from_hf(llama31(), "c"));
  ASSERT_EQ(f.size(), 64u);
  EXPECT_DOUBLE_EQ(f[0], 1.0);
  EXPECT_NEAR(f[1], 8.1461e-01, 1e-5);                              // short waves are left alone
  EXPECT_NEAR(f[63], std::pow(500000.0, -126.0 / 128) / 8, 1e-12);  // long ones are slowed by the factor
  for (size_t i = 1; i < f.size(); ++i) EXPECT_LT(f[i], f[i - 1]);
  const std::vector<float> divisors = rope_factors(config_from_hf(llama31(), "c"));
  EXPECT_EQ(divisors.front(), 1.0F);
  EXPECT_EQ(divisors.back(), 8.0F);
}

TEST(Config, MistralHasAWindowUnlessNull) {
  Json config = edited("architectures", {"MistralForCausalLM"});
  config.erase("rope_scaling");
  EXPECT_EQ(config_from_hf(config, "c").sliding_window, 4096);
  config["sliding_window"] = 1024;
  EXPECT_EQ(config_from_hf(config, "c").sliding_window, 1024);
  config["sliding_window"] = nullptr;
  EXPECT_EQ(config_from_hf(config, "c").sliding_window, 0);
}

TEST(Config, QwenRows) {
  Json config = edited("architectures", {"Qwen2ForCausalLM"});
  config["rope_scaling"] = nullptr;
  config["sliding_window"] = 32768;
  config["use_sliding_window"] = false;
  const ModelConfig qwen2 = config_from_hf(config, "c");
  EXPECT_TRUE(qwen2.attention_bias);
  EXPECT_FALSE(qwen2.attention_output_bias);
  EXPECT_EQ(qwen2.sliding_window, 0);
  config["architectures"] = {"Qwen3ForCausalLM"};
  config["head_dim"] = 64;
  const ModelConfig qwen3 = config_from_hf(config, "c");
  EXPECT_TRUE(qwen3.architecture->qk_norm);
  EXPECT_FALSE(qwen3.attention_bias);
  EXPECT_EQ(qwen3.head_dim, 64);
}

struct Bad {
  const char* key;
  Json value;
  const char* says;
};

TEST(Config, RefusesWhatItCannotRunInOneLine) {
  const std::vector<Bad> cases = {
      {"architectures", {"GemmaForCausalLM"}, "GemmaForCausalLM"},
      {"hidden_act", "gelu", "hidden_act"},
      {"hidden_size", 0, "hidden size"},
      {"hidden_size", "4096", "hidden_size"},
      {"hidden_size", 4096.5, "hidden_size"},
      {"num_attention_heads", 0, "num_attention_heads"},
      {"num_attention_heads", -4, "num_attention_heads"},
      {"num_key_value_heads", 5, "evenly"},
      {"num_key_value_heads", 0, "key/value"},
      {"head_dim", 127, "odd"},
      {"num_hidden_layers", int64_t{1} << 40, "layers"},
      {"vocab_size", nullptr, "vocab_size"},
      {"rms_norm_eps", 0.0, "epsilon"},
      {"rms_norm_eps", -1.0, "epsilon"},
      {"rope_theta", 0.0, "rope_theta"},
      {"use_sliding_window", true, "use_sliding_window"},
      {"num_local_experts", 8, "num_local_experts"},
      {"final_logit_softcapping", 30.0, "final_logit_softcapping"},
      {"rope_scaling", {{"rope_type", "longrope"}, {"factor", 4.0}}, "longrope"},
      {"rope_scaling", {{"rope_type", "linear"}, {"factor", 0.0}}, "factor"},
      {"rope_scaling", {{"rope_type", "llama3"}, {"factor", 8.0}}, "low_freq_factor"},
      {"rope_scaling", 7, "rope_scaling"},
  };
  for (const Bad& bad : cases) {
    try {
      config_from_hf(edited(bad.key, bad.value), "x/config.json");
      ADD_FAILURE() << bad.key << " = " << bad.value << " was taken";
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), HasSubstr("x/config.json"));
      EXPECT_THAT(e.what(), HasSubstr(bad.says));
      EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos);
    }
  }
  EXPECT_THROW(config_from_hf(Json::array(), "c"), Error);
  EXPECT_THROW(config_from_hf(Json::object(), "c"), Error);
}

TEST(Config, HuggingFaceRoundTrip) {
  const ModelConfig once = config_from_hf(llama31(), "c");
  const Json written = config_to_hf(once);
  const ModelConfig twice = config_from_hf(written, "c");
  EXPECT_EQ(config_to_hf(twice), written);
  EXPECT_EQ(rope_frequencies(once), rope_frequencies(twice));
}

TEST(Layout, RowOrdersUndoEachOther) {
  const std::vector<int64_t> there = interleaved_rows(24, 3), back = split_rows(24, 3);
  EXPECT_THAT(std::vector<int64_t>(there.begin(), there.begin() + 8), testing::ElementsAre(0, 4, 1, 5, 2, 6, 3, 7));
  for (int64_t r = 0; r < 24; ++r) EXPECT_EQ(there[static_cast<size_t>(back[static_cast<size_t>(r)])], r);
}

}  // namespace
}  // namespace lowbit

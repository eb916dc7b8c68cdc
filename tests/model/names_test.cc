#include "model/names.h"

#include <gtest/gtest.h>

namespace lowbit {
namespace {

TEST(Names, EveryRoleGoesThereAndBack) {
  for (int role = 0; role < static_cast<int>(Role::RopeFrequencies); ++role) {
    for (const bool bias : {false, true}) {
      const auto r = static_cast<Role>(role);
      const bool whole_model = r == Role::TokenEmbedding || r == Role::OutputNorm || r == Role::Output;
      const WeightId id{r, whole_model ? -1 : 17, bias};
      EXPECT_EQ(from_hf_name(hf_name(id)), id) << hf_name(id);
      EXPECT_EQ(from_gguf_name(gguf_name(id)), id) << gguf_name(id);
    }
  }
}

TEST(Names, AreThoseOfTheField) {
  EXPECT_EQ(hf_name({Role::Q, 3}), "model.layers.3.self_attn.q_proj.weight");
  EXPECT_EQ(gguf_name({Role::Q, 3}), "blk.3.attn_q.weight");
  EXPECT_EQ(gguf_name({Role::AttentionOutput, 0, true}), "blk.0.attn_output.bias");
  EXPECT_EQ(hf_name({Role::FfnNorm, 11}), "model.layers.11.post_attention_layernorm.weight");
  EXPECT_EQ(gguf_name({Role::TokenEmbedding}), "token_embd.weight");
}

TEST(Names, StrangeOnesAreNoWeights) {
  for (const char* name : {"", ".weight", "blk.", "blk..attn_q.weight", "blk.-1.attn_q.weight", "blk.007.attn_q.weight",
                           "blk.99999999999999999999.attn_q.weight", "blk.1.attn_q", "blk.1.token_embd.weight",
                           "attn_q.weight", "blk.1attn_q.weight", "blk.1.attn_q.weight.weight", "blk.0.", "blk.0"}) {
    EXPECT_FALSE(from_gguf_name(name)) << name;
  }
  EXPECT_FALSE(from_hf_name("model.layers.0.self_attn.rotary_emb.inv_freq"));
  EXPECT_FALSE(from_hf_name(".weight"));
}

TEST(Names, OnlyMatricesAreQuantized) {
  EXPECT_TRUE(is_matrix({Role::Down, 0}));
  EXPECT_TRUE(is_matrix({Role::TokenEmbedding}));
  EXPECT_FALSE(is_matrix({Role::Down, 0, true}));
  EXPECT_FALSE(is_matrix({Role::FfnNorm, 0}));
  EXPECT_FALSE(is_matrix({Role::RopeFrequencies}));
}

}  // namespace
}  // namespace lowbit

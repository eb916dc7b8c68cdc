#include "model/names.h"

#include <fmt/core.h>

#include <charconv>

namespace lowbit {
namespace {

struct Row {
  Role role;
  bool in_layer, matrix;
  std::string_view hf, gguf;  // without "model.layers.N." / "blk.N." and the suffix; HF of no layer: whole
};

constexpr Row kRows[] = {
    {Role::TokenEmbedding, false, true, "model.embed_tokens", "token_embd"},
    {Role::OutputNorm, false, false, "model.norm", "output_norm"},
    {Role::Output, false, true, "lm_head", "output"},
    {Role::RopeFrequencies, false, false, "", "rope_freqs"},
    {Role::AttentionNorm, true, false, "input_layernorm", "attn_norm"},
    {Role::Q, true, true, "self_attn.q_proj", "attn_q"},
    {Role::K, true, true, "self_attn.k_proj", "attn_k"},
    {Role::V, true, true, "self_attn.v_proj", "attn_v"},
    {Role::AttentionOutput, true, true, "self_attn.o_proj", "attn_output"},
    {Role::QNorm, true, false, "self_attn.q_norm", "attn_q_norm"},
    {Role::KNorm, true, false, "self_attn.k_norm", "attn_k_norm"},
    {Role::FfnNorm, true, false, "post_attention_layernorm", "ffn_norm"},
    {Role::Gate, true, true, "mlp.gate_proj", "ffn_gate"},
    {Role::Up, true, true, "mlp.up_proj", "ffn_up"},
    {Role::Down, true, true, "mlp.down_proj", "ffn_down"},
};

const Row& row_of(Role role) {
  for (const Row& row : kRows) {
    if (row.role == role) return row;
  }
  __builtin_unreachable();
}

std::string name_of(const WeightId& id, std::string_view layers, std::string_view Row::*column) {
  const Row& row = row_of(id.role);
  const std::string_view suffix = id.bias ? "bias" : "weight";
  if (!row.in_layer) return fmt::format("{}.{}", row.*column, suffix);
  return fmt::format("{}{}.{}.{}", layers, id.layer, row.*column, suffix);
}

std::optional<WeightId> parse(std::string_view name, std::string_view layers, std::string_view Row::*column) {
  WeightId id{};
  if (name.ends_with(".bias")) {
    id.bias = true;
    name.remove_suffix(5);
  } else if (name.ends_with(".weight")) {
    name.remove_suffix(7);
  } else {
    return std::nullopt;
  }
  const bool in_layer = name.starts_with(layers);
  if (in_layer) {
    name.remove_prefix(layers.size());
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id.layer);
    const bool canonical = name.size() > 1 && (name[0] != '0' || name[1] == '.');  // "007" names no layer
    if (error != std::errc() || id.layer < 0 || !canonical || end == name.data() + name.size() || *end != '.') {
      return std::nullopt;
    }
    name.remove_prefix(static_cast<size_t>(end - name.data()) + 1);
  }
  for (const Row& row : kRows) {
    if (row.in_layer == in_layer && !(row.*column).empty() && row.*column == name) {
      id.role = row.role;
      return id;
    }
  }
  return std::nullopt;
}

constexpr std::string_view kHfLayers = "model.layers.", kGgufLayers = "blk.";

}  // namespace

std::string hf_name(const WeightId& id) { return name_of(id, kHfLayers, &Row::hf); }
std::string gguf_name(const WeightId& id) { return name_of(id, kGgufLayers, &Row::gguf); }
std::optional<WeightId> from_hf_name(std::string_view name) { return parse(name, kHfLayers, &Row::hf); }
std::optional<WeightId> from_gguf_name(std::string_view name) { return parse(name, kGgufLayers, &Row::gguf); }
bool is_matrix(const WeightId& id) { return !id.bias && row_of(id.role).matrix; }

}  // namespace lowbit

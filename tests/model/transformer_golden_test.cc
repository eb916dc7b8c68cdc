// Logits of tiny random models of every architecture, against transformers (tools/goldens/logits.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "container/safetensors.h"
#include "model/transformer.h"

namespace lowbit {
namespace {

const std::filesystem::path kFolder = std::filesystem::path(LOWBIT_TEST_DATA) / "logits";

template <typename T>
std::vector<T> read_all(const TensorStore& store, std::string_view name) {
  const TensorInfo& info = store.at(name);
  std::vector<T> out(static_cast<size_t>(info.elements()));
  EXPECT_EQ(out.size() * sizeof(T), info.bytes);
  std::memcpy(out.data(), store.data(info).data(), info.bytes);
  return out;
}

class Golden : public testing::TestWithParam<std::string> {};

TEST_P(Golden, LogitsEqualTransformers) {
  const std::filesystem::path folder = kFolder / GetParam();
  const ModelSource source = open_model(folder);
  const Safetensors expected(folder / "expected.safetensors");
  const std::vector<int32_t> tokens = read_all<int32_t>(expected, "tokens");
  const std::vector<float> logits = read_all<float>(expected, "logits");

  ThreadPool pool(2);
  Transformer model(source, pool);
  KvCache cache(model.config(), static_cast<int64_t>(tokens.size()), KvType::F32);
  const Segment segment{tokens, &cache};
  const std::vector<float> hidden = model.forward({&segment, 1});
  std::vector<float> ours(logits.size());
  ASSERT_EQ(logits.size(), tokens.size() * static_cast<size_t>(model.config().vocab));
  model.logits(hidden.data(), static_cast<int64_t>(tokens.size()), ours.data());

  float worst = 0, largest = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    ASSERT_TRUE(std::isfinite(ours[i]));
    worst = std::max(worst, std::fabs(ours[i] - logits[i]));
    largest = std::max(largest, std::fabs(logits[i]));
  }
  EXPECT_LE(worst, 1e-3) << "of logits up to " << largest;
  RecordProperty("worst", std::to_string(worst));
}

INSTANTIATE_TEST_SUITE_P(Models, Golden,
                         testing::Values("llama", "llama-tied", "llama-bias", "llama-rope-llama3",
                                         "llama-rope-llama3-legacy", "llama-rope-linear", "mistral-window", "qwen2",
                                         "qwen3"),
                         [](const auto& p) {
                           std::string name = p.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace lowbit

#include "quantize/directory.h"

#include <gtest/gtest.h>

#include "model/tiny_model.h"
#include "quantize/calibration/random_tokens.h"
#include "quantize/quantize_groups.h"

namespace lowbit {
namespace {

using Pieces = std::vector<std::vector<std::byte>>;

class Directory : public testing::Test {
 protected:
  Directory() { model_.source.hf_config = Json::object(); }
  ~Directory() override { std::filesystem::remove_all(folder_); }

  /// What the directory of a scheme holds of a matrix.
  Pieces written(const GroupScheme& scheme, const DirectoryPlan& plan, const DirectoryTensor& matrix) {
    write_directory(model_.source, scheme, plan, folder_, pool_);
    const Safetensors store(folder_);
    Pieces out;
    for (const ModuleTensor& piece :
         scheme.dialect->tensors(matrix.module(), scheme.format, matrix.rows(), matrix.cols())) {
      const std::span<const std::byte> data = store.data(store.at(piece.name));
      out.emplace_back(data.begin(), data.end());
    }
    return out;
  }

  Pieces quantized(const GroupScheme& scheme, const DirectoryTensor& matrix, const float* importance) {
    const std::vector<float> weights = read_weights(model_.source, matrix.tensor, 0, matrix.rows(), pool_);
    return scheme.dialect->pack(
        quantize_groups(scheme.format, scheme.search, weights.data(), matrix.rows(), matrix.cols(), importance, pool_));
  }

  const std::filesystem::path folder_ = std::filesystem::path(testing::TempDir()) / "lowbit_directory_test";
  TinyModel model_{{tiny_config(128)}};
  ThreadPool pool_{2};
};

TEST_F(Directory, SearchesBySquaresWithWhatRandomTokensSee) {
  for (const char* name : {"w4a16", "nf4", "hqq-4bit-64g"}) {
    const GroupScheme scheme = std::move(*find_group_scheme(name, EncodingId::F32));
    const DirectoryPlan plan = plan_directory(model_.source, scheme, {});
    const auto down = std::ranges::find_if(plan.tensors, [](const DirectoryTensor& t) {
      return t.tensor.id == WeightId{Role::Down, 1};
    });
    RandomTokens tokens(model_.source, pool_);
    const std::vector<float> importance = tokens.importance(down->tensor.id);
    const Pieces found = written(scheme, plan, *down);
    EXPECT_EQ(found, quantized(scheme, *down, importance.data())) << name;
    EXPECT_NE(found, quantized(scheme, *down, nullptr)) << name;
  }
}

TEST_F(Directory, LooksAtWeightsAloneByOtherRules) {
  GroupScheme scheme = std::move(*find_group_scheme("w4a16", EncodingId::F32));
  scheme.search = GroupSearch::MinMax;
  const DirectoryPlan plan = plan_directory(model_.source, scheme, {});
  const auto gate = std::ranges::find_if(plan.tensors, [](const DirectoryTensor& t) {
    return t.tensor.id == WeightId{Role::Gate, 0};
  });
  EXPECT_EQ(written(scheme, plan, *gate), quantized(scheme, *gate, nullptr));
}

}  // namespace
}  // namespace lowbit

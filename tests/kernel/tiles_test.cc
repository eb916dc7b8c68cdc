#if defined(__x86_64__)
#include <gtest/gtest.h>

#include "kernel/support.h"
#include "kernel/tiles_emulated.h"

namespace lowbit {
namespace {

/// The kernels for AMX but for their tile registers; nullptr where the vectors beside them are missing too.
const Kernels* emulated() {
  static Kernels table;
  for (const Kernels* k : all_kernels()) {
    if (k->name != "avx512") continue;
    table = *k;
    table.name = "amx, emulated";
    table.code_group = amx_emulated::kCodeGroup;
    table.matmul_codes = amx_emulated::matmul_codes;
    return &table;
  }
  return nullptr;
}

class Tiles : public testing::TestWithParam<const Encoding*> {};

TEST_P(Tiles, GiveTheReferencesBits) {
  const Kernels* k = emulated();
  if (k == nullptr) GTEST_SKIP() << "this machine has no AVX-512";
  const Encoding& e = *GetParam();
  ThreadPool pool(2);
  const bool small = e.block == 32;
  for (const int64_t rows : {1, 16, 40, 200}) {
    for (const int64_t cols : {small ? 32 : 256, small ? 544 : 512, small ? 1120 : 1280}) {
      const auto data = test::random_weights(e, rows, cols, 1);
      const PackedMatrix w = pack_matrix(e, rows, cols, data.data(), nullptr, pool);
      const auto x = test::random_floats(50 * cols, 2);
      const auto expected = test::product(*all_kernels().front(), w, x, 50, pool);
      for (int64_t tokens : {1, 6, 7, 8, 12, 13, 15, 16, 17, 23, 31, 33, 50}) {
        const std::vector<float> some(x.begin(), x.begin() + tokens * cols);
        const std::vector<float> want(expected.begin(), expected.begin() + tokens * rows);
        EXPECT_TRUE(test::same_bits(test::product(*k, w, some, tokens, pool), want))
            << e.name << " " << rows << "x" << cols << " tokens " << tokens;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Tiles, testing::ValuesIn([] {
                           std::vector<const Encoding*> coded = test::kernel_encodings();
                           std::erase_if(coded, [](const Encoding* e) { return e->kind == EncodingKind::Float; });
                           return coded;
                         }()),
                         [](const auto& tested) { return std::string(tested.param->name); });

}  // namespace
}  // namespace lowbit
#endif  // __x86_64__

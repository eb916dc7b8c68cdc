#if defined(__x86_64__)
#include "kernel/emulated.h"

#include <gtest/gtest.h>

#include "kernel/support.h"

namespace lowbit {
namespace {

/// The kernels for AMX but for their tile registers, those for AVX-VNNI but for the instruction's encoding; none where
/// the vectors that they are made of are missing too.
std::vector<Kernels> emulated() {
  std::vector<Kernels> out;
  for (const Kernels* k : all_kernels()) {
    if (k->name != "avx512") continue;
    out.assign(2, *k);
    out[0].name = "amx, emulated";
    out[0].code_group = amx_emulated::kCodeGroup;
    out[0].matmul_codes = amx_emulated::matmul_codes;
    out[1].name = "avxvnni, emulated";
    out[1].code_group = avxvnni_emulated::kCodeGroup;
    out[1].matmul_codes = avxvnni_emulated::matmul_codes;
  }
  return out;
}

class Emulated : public testing::TestWithParam<const Encoding*> {};

TEST_P(Emulated, GiveTheReferencesBits) {
  const std::vector<Kernels> tables = emulated();
  if (tables.empty()) GTEST_SKIP() << "this machine has no AVX-512";
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
        for (const Kernels& k : tables) {
          EXPECT_TRUE(test::same_bits(test::product(k, w, some, tokens, pool), want))
              << k.name << " " << e.name << " " << rows << "x" << cols << " tokens " << tokens;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Emulated, testing::ValuesIn([] {
                           std::vector<const Encoding*> coded = test::kernel_encodings();
                           std::erase_if(coded, [](const Encoding* e) { return e->kind == EncodingKind::Float; });
                           return coded;
                         }()),
                         [](const auto& tested) { return std::string(tested.param->name); });

}  // namespace
}  // namespace lowbit
#endif  // __x86_64__

#include "kernel/ops.h"
#include "kernel/vec_avx2.h"

namespace lowbit::avx2 {
namespace {

constexpr int kFloatTokens = 6, kFloatPanels = 1, kSingleTokenPanels = 4;
constexpr int64_t kStreamedTokens = 96;  // measured on Zen 4
constexpr uint64_t kLongestSinglePanel = 0;
constexpr int64_t kFloatAhead = 4096;

// Sixteen lanes each that attention keeps sums in.
constexpr int kAttentionRegisters = 6;

}  // namespace

const int kFloatGroup = kFloatTokens;

// The order matters: attention uses the exponential of ops_body.h.
// clang-format off
#include "kernel/ops_body.h"
#include "kernel/attention_body.h"
#include "kernel/matmul_float_body.h"
// clang-format on

}  // namespace lowbit::avx2

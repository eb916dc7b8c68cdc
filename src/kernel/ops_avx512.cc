#include "kernel/ops.h"
#include "kernel/vec_avx512.h"

namespace lowbit::avx512 {
namespace {

constexpr int kFloatTokens = 12, kFloatPanels = 2, kSingleTokenPanels = 8;
constexpr int64_t kStreamedTokens = 96;  // measured on Zen 4
constexpr uint64_t kLongestSinglePanel = 0;
constexpr int64_t kFloatAhead = 8192;  // not measured

// Sixteen lanes each that attention keeps sums in.
constexpr int kAttentionRegisters = 24;

}  // namespace

const int kFloatGroup = kFloatTokens;

// The order matters: attention uses the exponential of ops_body.h.
// clang-format off
#include "kernel/ops_body.h"
#include "kernel/attention_body.h"
#include "kernel/matmul_float_body.h"
// clang-format on

}  // namespace lowbit::avx512

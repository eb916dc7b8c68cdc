#include "kernel/ops.h"
#include "kernel/vec_neon.h"

namespace lowbit::neon {
namespace {

constexpr int kFloatTokens = 6, kFloatPanels = 1, kSingleTokenPanels = 4;
constexpr int64_t kStreamedTokens = kFloatTokens;  // not measured
constexpr uint64_t kLongestSinglePanel = 0;
constexpr int64_t kFloatAhead = 8192;  // not measured

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

}  // namespace lowbit::neon

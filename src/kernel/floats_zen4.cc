// Products with float weights as AMD's processors with AVX-512 (Zen 4 on) do them fastest: their hardware reads ahead
// of a few panels at once better than it can be told to.
#include "kernel/ops.h"
#include "kernel/vec_avx512.h"

namespace lowbit::zen4 {
using namespace avx512;
namespace {

constexpr int kFloatTokens = 12, kFloatPanels = 2, kSingleTokenPanels = 4;
constexpr int64_t kStreamedTokens = 96;
constexpr uint64_t kLongestSinglePanel = kShortPanel;
constexpr int64_t kFloatAhead = 0;

}  // namespace

const int kFloatGroup = kFloatTokens;

#include "kernel/matmul_float_body.h"

}  // namespace lowbit::zen4

#include "kernel/search.h"
#include "kernel/vec_neon.h"

namespace lowbit::neon {
namespace {

constexpr int kAtOnce = 1;

}  // namespace

// The order matters.
// clang-format off
#include "kernel/search_body.h"
#include "kernel/columns_body.h"
// clang-format on

}  // namespace lowbit::neon

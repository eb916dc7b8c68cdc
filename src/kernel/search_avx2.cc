#include "kernel/search.h"
#include "kernel/vec_avx2.h"

namespace lowbit::avx2 {
namespace {

constexpr int kAtOnce = 2;

}  // namespace

#include "kernel/search_body.h"

#include "kernel/columns_body.h"

}  // namespace lowbit::avx2

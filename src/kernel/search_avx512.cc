#include "kernel/search.h"
#include "kernel/vec_avx512.h"

namespace lowbit::avx512 {
namespace {

constexpr int kAtOnce = 4;

}  // namespace

#include "kernel/search_body.h"

#include "kernel/columns_body.h"

}  // namespace lowbit::avx512

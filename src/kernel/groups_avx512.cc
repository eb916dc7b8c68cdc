#include "kernel/groups.h"
#include "kernel/vec_avx512.h"

namespace lowbit::avx512 {
namespace {

constexpr int kGramRows = 6, kGramVectors = 4;

}  // namespace

#include "kernel/groups_body.h"

}  // namespace lowbit::avx512

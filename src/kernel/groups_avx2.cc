#include "kernel/groups.h"
#include "kernel/vec_avx2.h"

namespace lowbit::avx2 {
namespace {

constexpr int kGramRows = 6, kGramVectors = 1;

}  // namespace

#include "kernel/groups_body.h"

}  // namespace lowbit::avx2

#include "kernel/groups.h"
#include "kernel/vec_neon.h"

namespace lowbit::neon {
namespace {

constexpr int kGramRows = 6, kGramVectors = 1;

}  // namespace

#include "kernel/groups_body.h"

}  // namespace lowbit::neon

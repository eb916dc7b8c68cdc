#include "kernel/groups.h"
#include "kernel/vec_ref.h"

namespace lowbit::ref {
namespace {

constexpr int kGramRows = 4, kGramVectors = 1;

}  // namespace

#include "kernel/groups_body.h"

}  // namespace lowbit::ref

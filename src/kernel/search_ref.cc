#include "kernel/search.h"
#include "kernel/vec_ref.h"

namespace lowbit::ref {
namespace {

constexpr int kAtOnce = 1;

}  // namespace

#include "kernel/search_body.h"

#include "kernel/columns_body.h"

}  // namespace lowbit::ref

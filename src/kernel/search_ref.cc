#include "kernel/search.h"
#include "kernel/vec_ref.h"

namespace lowbit::ref {

#include "kernel/search_body.h"

}  // namespace lowbit::ref

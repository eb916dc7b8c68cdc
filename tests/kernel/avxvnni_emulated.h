#pragma once

#include "kernel/layout.h"

namespace lowbit::avxvnni_emulated {

extern const int kCodeGroup;
void matmul_codes(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out,
                  int64_t out_stride);

}  // namespace lowbit::avxvnni_emulated

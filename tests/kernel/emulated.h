#pragma once

#include "kernel/layout.h"

#define LOWBIT_DECLARE_EMULATED(isa)                                                                        \
  namespace lowbit::isa##_emulated {                                                                        \
    extern const int kCodeGroup;                                                                            \
    void matmul_codes(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out, \
                      int64_t out_stride);                                                                  \
  }
LOWBIT_DECLARE_EMULATED(amx)
LOWBIT_DECLARE_EMULATED(avxvnni)
#undef LOWBIT_DECLARE_EMULATED

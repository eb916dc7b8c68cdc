// The limits of the matrix kernels: their very instructions on registers alone, nothing loaded.
#pragma once

#include <stdint.h>

#include <string_view>

#define LOWBIT_DECLARE_PEAKS(isa)      \
  namespace isa {                      \
  int64_t peak_codes(int64_t rounds);  \
  int64_t peak_floats(int64_t rounds); \
  }

namespace lowbit {

LOWBIT_DECLARE_PEAKS(ref)
#if defined(__x86_64__)
LOWBIT_DECLARE_PEAKS(avx2)
LOWBIT_DECLARE_PEAKS(avxvnni)
LOWBIT_DECLARE_PEAKS(avx512)
namespace amx {
int64_t peak_codes(int64_t rounds);
}
namespace zen4 {
int64_t peak_bf16(int64_t rounds);
}
#endif

/// Each runs `rounds` rounds of products and returns the operations done, 2 a product: divided by the time taken, the
/// peak of one core.
struct Peaks {
  std::string_view name;              ///< of the kernels that it is the limit of
  int64_t (*codes)(int64_t rounds);   ///< products of 8-bit integers, added up
  int64_t (*floats)(int64_t rounds);  ///< fused multiply-adds in binary32
  int64_t (*bf16)(int64_t rounds);    ///< of Kernels::matmul_bf16; null if there is none
};

/// Those of kernels(); null functions where there are none (ARM).
const Peaks& peaks();

}  // namespace lowbit

#undef LOWBIT_DECLARE_PEAKS

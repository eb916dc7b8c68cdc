// Sums stay in registers only where the compiler knows their indices early on: of lanes that are made of several
// registers (AVX2, NEON), GCC otherwise stores every sum in every round, which takes four times as long.
#pragma once

#if defined(__clang__)
#define LOWBIT_UNROLL _Pragma("unroll")
#else
#define LOWBIT_UNROLL _Pragma("GCC unroll 24")
#endif

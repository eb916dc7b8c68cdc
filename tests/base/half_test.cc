#include "base/half.h"

#include <gtest/gtest.h>

#include <cmath>

namespace lowbit {
namespace {

constexpr uint32_t kInfinity = 0x7c00;

// By definition: sign, 5 bits of exponent biased by 15, 10 bits of fraction.
TEST(Half, EveryBinary16Decodes) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float got = f16_to_f32(static_cast<uint16_t>(bits));
    const int exponent = static_cast<int>(bits >> 10 & 31);
    const auto fraction = static_cast<float>(bits & 1023);
    EXPECT_EQ(std::signbit(got), bits >> 15 == 1) << bits;
    if (exponent == 31) {
      EXPECT_TRUE(fraction == 0 ? std::isinf(got) : std::isnan(got)) << bits;
    } else {
      const float expected = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
      EXPECT_EQ(std::fabs(got), expected) << bits;
    }
  }
}

// Each binary16, the middle between it and the next, and the binary32 numbers on either side of the middle.
TEST(Half, EncodesToNearestTiesToEven) {
  for (uint32_t bits = 0; bits < kInfinity; ++bits) {
    const auto h = static_cast<uint16_t>(bits);
    const float here = f16_to_f32(h),
                next = bits + 1 == kInfinity ? 65536.0F : f16_to_f32(static_cast<uint16_t>(bits + 1));
    const float middle = here + (next - here) / 2;
    for (const uint32_t sign : {0u, 0x8000u}) {
      const float s = sign != 0 ? -1.0F : 1.0F;
      EXPECT_EQ(f32_to_f16(s * here), bits | sign);
      EXPECT_EQ(f32_to_f16(s * middle), (bits + (bits & 1)) | sign) << bits;
      EXPECT_EQ(f32_to_f16(s * std::nextafter(middle, 0.0F)), bits | sign) << bits;
      EXPECT_EQ(f32_to_f16(s * std::nextafter(middle, 1e30F)), (bits + 1) | sign) << bits;
    }
  }
}

TEST(Half, WhatIsNoFiniteBinary16) {
  EXPECT_EQ(f32_to_f16(1e30F), kInfinity);
  EXPECT_EQ(f32_to_f16(-INFINITY), kInfinity | 0x8000);
  EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(NAN))));
  EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(-NAN))));
  EXPECT_EQ(f32_to_f16(1e-45F), 0);
  EXPECT_EQ(f32_to_f16(-1e-45F), 0x8000);
}

TEST(Half, BrainFloats) {
  EXPECT_EQ(f32_to_bf16(1.0F), 0x3f80);
  EXPECT_EQ(f32_to_bf16(1.00390625F), 0x3f80);  // the middle of 0x3f80 and 0x3f81
  EXPECT_EQ(f32_to_bf16(1.01171875F), 0x3f82);  // and of 0x3f81 and 0x3f82
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(NAN))));
  EXPECT_EQ(bf16_to_f32(f32_to_bf16(INFINITY)), INFINITY);
}

}  // namespace
}  // namespace lowbit

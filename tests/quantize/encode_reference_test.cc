#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "base/error.h"
#include "quantize/encode.h"

namespace lowbit {
namespace {

class Reference : public testing::TestWithParam<EncodingId> {};

INSTANTIATE_TEST_SUITE_P(Legacy, Reference,
                         testing::Values(EncodingId::Q4_0, EncodingId::Q4_1, EncodingId::Q5_0, EncodingId::Q5_1,
                                         EncodingId::Q8_0),
                         [](const auto& row) { return std::string(encoding(row.param).name); });

TEST_P(Reference, IsWhatTheGgufPackageWrites) {
  const Encoding& e = encoding(GetParam());
  std::ifstream in(std::string(LOWBIT_TEST_DATA "/encodings/") + std::string(e.name) + "_reference.bin",
                   std::ios::binary);
  const std::string file{std::istreambuf_iterator<char>(in), {}};
  const size_t one = 4 * static_cast<size_t>(e.block) + static_cast<size_t>(e.block_bytes);
  ASSERT_EQ(file.size() % one, 0u);
  const size_t blocks = file.size() / one, values = blocks * static_cast<size_t>(e.block);
  ASSERT_EQ(blocks, 24u);
  std::vector<float> weights(values);
  std::memcpy(weights.data(), file.data(), 4 * values);
  std::string got(e.bytes(values), '\0');
  encode_rows(e, Search::Reference, weights.data(), static_cast<int64_t>(blocks), e.block, nullptr,
              reinterpret_cast<std::byte*>(got.data()));
  EXPECT_EQ(got, file.substr(4 * values));
}

TEST_P(Reference, ExtremesStayFinite) {
  const Encoding& e = encoding(GetParam());
  const float greatest = std::numeric_limits<float>::max(), least = std::numeric_limits<float>::denorm_min();
  for (const float size : {greatest, 1e30F, 1e6F, 1e-38F, least, 0.0F}) {
    std::vector<float> x(32, size), y(32);
    x[3] = -size;
    x[4] = size / 3;
    x[5] = 0;
    std::vector<std::byte> bytes(e.bytes(32));
    encode_rows(e, Search::Reference, x.data(), 1, 32, nullptr, bytes.data());
    decode(e, bytes.data(), 32, y.data());
    for (const float v : y) {
      EXPECT_TRUE(std::isfinite(v)) << size;
      if (size < 1e-30F) {
        EXPECT_EQ(v, 0) << size;
      }
    }
  }
}

TEST(ReferenceOfSearchedTypes, IsRefusedInOneLine) {
  for (const EncodingId id : {EncodingId::Q4_K, EncodingId::IQ4_NL, EncodingId::IQ4_XS, EncodingId::F16}) {
    const std::vector<float> x(256, 1.0F);
    std::vector<std::byte> bytes(1024);
    EXPECT_THROW(encode_rows(encoding(id), Search::Reference, x.data(), 1, 256, nullptr, bytes.data()), Error);
  }
}

}  // namespace
}  // namespace lowbit

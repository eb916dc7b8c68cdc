// Random weights and activations for the tests of kernels.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "base/half.h"
#include "encoding/encoding.h"
#include "kernel/kernels.h"

namespace lowbit::test {

inline std::vector<const Encoding*> kernel_encodings() {
  std::vector<const Encoding*> out;
  for (const Encoding& e : encodings()) {
    if (family_of(e)) out.push_back(&e);
  }
  return out;
}

/// Any codes and integer scales that the format can hold, below block scales of the given size (some negative, some 0).
inline std::vector<std::byte> random_weights(const Encoding& e, int64_t rows, int64_t cols, uint32_t seed,
                                             float size = 0.02f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, size);
  std::vector<std::byte> out(e.bytes(static_cast<uint64_t>(rows * cols)));
  if (e.kind == EncodingKind::Float) {
    std::vector<float> values(static_cast<size_t>(rows * cols));
    for (float& v : values) v = normal(random);
    encode_float(e, values.data(), rows * cols, out.data());
    return out;
  }
  for (std::byte& b : out) b = static_cast<std::byte>(random() & 255u);
  for (size_t at = 0; at < out.size(); at += static_cast<size_t>(e.block_bytes)) {
    BlockHeader header;
    uint8_t codes[kMaxBlock];
    e.unpack(out.data() + at, header, codes);
    header.d = random() % 16 == 0 ? 0 : f32_to_f16(normal(random));
    header.dmin = e.has_min && random() % 16 != 0 ? f32_to_f16(normal(random)) : 0;
    e.pack(header, codes, out.data() + at);
  }
  return out;
}

inline std::vector<float> random_floats(int64_t n, uint32_t seed, float size = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, size);
  std::vector<float> out(static_cast<size_t>(n));
  for (float& v : out) v = normal(random) * (random() % 50 == 0 ? 10.0f : 1.0f);  // some outliers, as models have
  return out;
}

inline std::vector<float> decoded(const Encoding& e, const std::vector<std::byte>& data, int64_t count) {
  std::vector<float> out(static_cast<size_t>(count));
  decode(e, data.data(), count, out.data());
  return out;
}

/// Equal as bits, so that NaN equals NaN and 0 differs from -0.
template <typename T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

inline std::vector<float> product(const Kernels& k, const PackedMatrix& w, const Activations& x, ThreadPool& pool) {
  std::vector<float> out(static_cast<size_t>(x.view.tokens * w.rows()), -777.0f);
  matmul(k, w, x, out.data(), pool);
  return out;
}

inline std::vector<float> product(const Kernels& k, const PackedMatrix& w, const std::vector<float>& x, int64_t tokens,
                                  ThreadPool& pool) {
  Activations activations;
  prepare(k, w, x.data(), tokens, activations, pool);
  return product(k, w, activations, pool);
}

/// Those of this machine that have products with activations of that form.
inline std::vector<const Kernels*> kernels_with(ActivationForm form) {
  std::vector<const Kernels*> out;
  for (const Kernels* k : all_kernels()) {
    if (k->matmul(form) != nullptr) out.push_back(k);
  }
  return out;
}

/// As models are run, where that is with activations of this form.
inline std::vector<float> fast_product(ActivationForm form, const Kernels& k, const PackedMatrix& w,
                                       const std::vector<float>& x, int64_t tokens, ThreadPool& pool) {
  Activations activations;
  prepare_fast(k, w, x.data(), tokens, activations, pool);
  EXPECT_EQ(activations.form, form);
  return product(k, w, activations, pool);
}

}  // namespace lowbit::test

// Products with every encoding, on every instruction set: first checked against the reference, then timed.
//   kernel_bench [--tokens 512] [--threads N] [NAME...]
// One token: gigabytes of packed weights a second, beside what a plain read of memory reaches in the same run.
// Many tokens: operations (2 a weight and token) a second.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/half.h"
#include "kernel/kernels.h"

namespace lowbit {
namespace {

using Clock = std::chrono::steady_clock;

/// Seconds of the fastest of several calls, for at least `least` seconds in all.
template <typename F>
double fastest(F f, double least = 0.25) {
  double best = 1e9, total = 0;
  for (int i = 0; i < 3 || total < least; ++i) {
    const auto start = Clock::now();
    f();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::min(best, seconds);
    total += seconds;
  }
  return best;
}

std::vector<std::byte> random_weights(const Encoding& e, int64_t count) {
  std::mt19937 random(1);
  std::vector<std::byte> out(e.bytes(static_cast<uint64_t>(count)));
  if (e.kind == EncodingKind::Float) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& v : values) v = static_cast<float>(random() % 2001) * 1e-5f - 1e-2f;
    encode_float(e, values.data(), count, out.data());
    return out;
  }
  for (std::byte& b : out) b = static_cast<std::byte>(random());
  for (size_t at = 0; at < out.size(); at += static_cast<size_t>(e.block_bytes)) {
    BlockHeader header;
    uint8_t codes[kMaxBlock];
    e.unpack(out.data() + at, header, codes);
    header.d = f32_to_f16(1e-3f);
    header.dmin = e.has_min ? f32_to_f16(1e-3f) : 0;
    e.pack(header, codes, out.data() + at);
  }
  return out;
}

void product(const Kernels& k, const PackedMatrix& w, const std::vector<float>& x, int64_t tokens,
             std::vector<float>& out, ThreadPool& pool) {
  Activations a;
  prepare(k, w, x.data(), tokens, a, pool);
  matmul(k, w, a, out.data(), pool);
}

/// Bytes a second of a plain read of `size` bytes, shared out as weights are.
double stream_read(ThreadPool& pool, uint64_t size) {
  std::vector<uint64_t> memory(size / 8, 1);
  constexpr size_t kPiece = 64 << 10;
  std::vector<uint64_t> sums(static_cast<size_t>(pool.size()) * 8);
  const double seconds = fastest([&] {
    pool.run(static_cast<int64_t>(size / kPiece), [&](int64_t i, int worker) {
      uint64_t sum[8] = {};
      const uint64_t* p = memory.data() + static_cast<size_t>(i) * kPiece / 8;
      for (size_t j = 0; j < kPiece / 8; j += 8) {
        for (size_t n = 0; n < 8; ++n) sum[n] += p[j + n];
      }
      sums[static_cast<size_t>(worker) * 8] += sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
    });
  });
  if (sums[0] == 42) fmt::print("\n");
  return static_cast<double>(size) / seconds;
}

struct Options {
  int64_t tokens = 512;
  int threads = 0;
  std::vector<std::string> names;
};

bool verify(const Encoding& e, const Kernels& k, ThreadPool& pool) {
  const int64_t rows = 40, cols = 1280, tokens = 9;
  const auto data = random_weights(e, rows * cols);
  const PackedMatrix w = pack_matrix(e, rows, cols, data.data(), nullptr, pool);
  std::vector<float> x(static_cast<size_t>(tokens * cols)), out(static_cast<size_t>(tokens * rows)), want(out);
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i));
  product(k, w, x, tokens, out, pool);
  product(*all_kernels().front(), w, x, tokens, want, pool);
  return std::memcmp(out.data(), want.data(), out.size() * sizeof(float)) == 0;
}

int run(const Options& options) {
  ThreadPool pool(options.threads);
  fmt::print("{} threads; plain read of 256 MiB: {:.1f} GB/s\n", pool.size(), stream_read(pool, 256u << 20) / 1e9);
  fmt::print("{:8} {:8} {:>8} {:>10} {:>8} {:>8} {:>10}\n", "isa", "type", "bits", "pack MB/s", "1: GB/s", "of read",
             fmt::format("{}: Gop/s", options.tokens));
  const int64_t cols = 4096;
  for (const Encoding& e : encodings()) {
    if (!has_kernel(e)) continue;
    if (!options.names.empty() &&
        std::none_of(options.names.begin(), options.names.end(), [&](const std::string& n) { return n == e.name; })) {
      continue;
    }
    // The last-level cache must not hold the weights of one token; many tokens go through a part of them.
    const int64_t rows =
        static_cast<int64_t>(double{192 << 20} * 8 / e.bits_per_weight() / static_cast<double>(cols)) / 16 * 16;
    const auto piece = random_weights(e, 64 * cols);
    std::vector<int64_t> order(static_cast<size_t>(rows));
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i % 64);
    const auto start = Clock::now();
    const PackedMatrix w = pack_matrix(e, rows, cols, piece.data(), order.data(), pool);
    const double pack_seconds = std::chrono::duration<double>(Clock::now() - start).count();
    const PackedMatrix some = pack_matrix(e, 2048, cols, piece.data(), order.data(), pool);
    std::vector<float> x(static_cast<size_t>(options.tokens * cols)), out(static_cast<size_t>(options.tokens * rows));
    for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i));
    for (const Kernels* k : all_kernels()) {
      if (k == all_kernels().front()) continue;
      if (!verify(e, *k, pool)) {
        fmt::print("{} {}: differs from the reference\n", k->name, e.name);
        return 1;
      }
      Activations one, many;
      prepare(*k, w, x.data(), 1, one, pool);
      prepare(*k, w, x.data(), options.tokens, many, pool);
      const double read = stream_read(pool, 128u << 20);
      const double single = fastest([&] { matmul(*k, w, one, out.data(), pool); });
      const double batch = fastest([&] { matmul(*k, some, many, out.data(), pool); });
      const double speed = static_cast<double>(w.bytes()) / single;
      fmt::print("{:8} {:8} {:8.3f} {:10.0f} {:8.1f} {:7.0f}% {:10.0f}\n", k->name, e.name,
                 8.0 * static_cast<double>(w.bytes()) / static_cast<double>(rows * cols),
                 static_cast<double>(w.bytes()) / pack_seconds / 1e6, speed / 1e9, 100 * speed / read,
                 2.0 * 2048 * static_cast<double>(cols * options.tokens) / batch / 1e9);
      std::fflush(stdout);
    }
  }
  return 0;
}

}  // namespace
}  // namespace lowbit

int main(int argc, char** argv) {
  lowbit::Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--tokens" && i + 1 < argc) {
      options.tokens = std::atoll(argv[++i]);
    } else if (argument == "--threads" && i + 1 < argc) {
      options.threads = std::atoi(argv[++i]);
    } else {
      options.names.push_back(argument);
    }
  }
  return lowbit::run(options);
}

// Products with every encoding, on every instruction set: first checked against the reference, then timed.
//   kernel_bench [--tokens 512] [--cols 4096] [--threads N] [--isa NAME] [TYPE...]
// One token: gigabytes of packed weights a second, beside what a plain read of memory reaches in the same run.
// Many tokens: operations (2 a weight and token) a second, for the default kernels beside what their instructions reach
// alone.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/half.h"
#include "base/large_pages.h"
#include "kernel/kernels.h"
#include "kernel/peak.h"

namespace lowbit {
namespace {

using Clock = std::chrono::steady_clock;

/// Seconds that the fastest tenth of many short pieces of work take: what the machine can do when other programs leave
/// it alone for a moment.
class Pieces {
 public:
  template <typename F>
  void time(F f) {
    const auto start = Clock::now();
    f();
    seconds_.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  double fast() {
    std::sort(seconds_.begin(), seconds_.end());
    return seconds_[seconds_.size() / 10];
  }

 private:
  std::vector<double> seconds_;
};

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
    header.d = f32_to_f16(random() % 2 == 0 ? 1e-3f : 1.1e-3f);  // neighbours that are the same would be stored once
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

constexpr uint64_t kPieceBytes = 2 << 20, kColdBytes = 160 << 20;

/// Reads a piece of memory, shared out as weights are; four places at once, which one core needs for its full rate.
uint64_t read_piece(const uint64_t* memory, ThreadPool& pool) {
  constexpr int64_t kTasks = 32, kQuarter = kPieceBytes / 8 / kTasks / 4;
  std::vector<uint64_t> sums(static_cast<size_t>(pool.size()) * 8);
  pool.run(kTasks, [&](int64_t i, int worker) {
    uint64_t sum[16] = {};
    const uint64_t* p = memory + i * 4 * kQuarter;
    for (int64_t j = 0; j < kQuarter; j += 4) {
      for (int64_t n = 0; n < 4; ++n) {
        for (int64_t q = 0; q < 4; ++q) sum[4 * q + n] += p[q * kQuarter + j + n];
      }
    }
    for (uint64_t x : sum) sums[static_cast<size_t>(worker) * 8] += x;
  });
  return sums[0];
}

struct Options {
  int64_t tokens = 512, cols = 4096;
  int threads = 0;
  std::string isa;
  std::vector<std::string> names;
};

bool verify(const Encoding& e, const Kernels& k, int64_t tokens, ThreadPool& pool) {
  const int64_t rows = 40, cols = 1280;
  const auto data = random_weights(e, rows * cols);
  const PackedMatrix w = pack_matrix(e, rows, cols, data.data(), nullptr, pool);
  std::vector<float> x(static_cast<size_t>(tokens * cols)), out(static_cast<size_t>(tokens * rows)), want(out);
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i));
  product(k, w, x, tokens, out, pool);
  product(*all_kernels().front(), w, x, tokens, want, pool);
  return std::memcmp(out.data(), want.data(), out.size() * sizeof(float)) == 0;
}

/// One token through more weights than caches hold, beside a plain read of as much.
void one_token(const Encoding& e, const Kernels& k, const PackedMatrix& w, ThreadPool& pool) {
  const std::unique_ptr<uint64_t, void (*)(void*)> plain(
      static_cast<uint64_t*>(std::aligned_alloc(kPieceBytes, kColdBytes)), std::free);
  wish_large_pages(plain.get(), kColdBytes);
  std::memset(plain.get(), 1, kColdBytes);
  const std::vector<float> x(static_cast<size_t>(w.cols()), 0.5f);
  std::vector<float> out(static_cast<size_t>(w.rows()));
  Activations a;
  prepare_fast(k, w, x.data(), 1, a, pool);
  const auto multiply = k.matmul(a.form);
  const int64_t panel_bytes = static_cast<int64_t>(w.view().panel_bytes);
  const int64_t step = std::max<int64_t>(1, (64 << 10) / panel_bytes),
                piece = kPieceBytes / (step * panel_bytes) * step;
  Pieces products, reads, cached;
  const int64_t few = std::max<int64_t>(1, (256 << 10) / panel_bytes);
  for (int i = 0; i < 400; ++i) cached.time([&] { multiply(w.view(), 0, few, a.view, out.data(), w.rows()); });
  uint64_t sum = 0;
  for (int pass = 0; pass < 3; ++pass) {
    int64_t at = 0;
    for (int64_t begin = 0; begin + piece <= w.panels(); begin += piece) {
      products.time([&] {
        pool.run(piece / step, [&](int64_t i, int) {
          multiply(w.view(), begin + i * step, begin + (i + 1) * step, a.view, out.data(), w.rows());
        });
      });
      reads.time([&] { sum += read_piece(plain.get() + at, pool); });
      at = (at + static_cast<int64_t>(kPieceBytes / 8)) % static_cast<int64_t>(kColdBytes / 8);
    }
  }
  if (sum == 42) fmt::print("\n");
  const double speed = static_cast<double>(piece * panel_bytes) / products.fast();
  const double read = static_cast<double>(kPieceBytes) / reads.fast();
  fmt::print("{:8} {:7} {:7.3f} {:8.1f} {:8.1f} {:7.0f}% {:8.1f}", k.name, e.name,
             8.0 * static_cast<double>(w.bytes()) / static_cast<double>(w.rows() * w.cols()), speed / 1e9, read / 1e9,
             100 * speed / read, static_cast<double>(few * panel_bytes) / cached.fast() / 1e9);
}

void many_tokens(const Kernels& k, const PackedMatrix& w, int64_t tokens, ThreadPool& pool) {
  std::vector<float> x(static_cast<size_t>(tokens * w.cols()));
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i));
  std::vector<float> out(static_cast<size_t>(tokens * w.rows()));
  Activations a;
  prepare_fast(k, w, x.data(), tokens, a, pool);
  const auto multiply = k.matmul(a.form);
  constexpr int64_t kPanels = 8;
  const int64_t piece = kPanels * pool.size();
  const auto peak = k.name != peaks().name             ? nullptr
                    : a.form == ActivationForm::Floats ? peaks().floats
                    : a.form == ActivationForm::Bf16   ? peaks().bf16
                                                       : peaks().codes;
  constexpr int64_t kRounds = 200000;
  std::vector<int64_t> done(static_cast<size_t>(pool.size()));
  Pieces products, limits;
  for (int pass = 0; pass < 4; ++pass) {
    for (int64_t begin = 0; begin + piece <= std::min<int64_t>(w.panels(), 20 * piece); begin += piece) {
      products.time([&] {
        pool.run(pool.size(), [&](int64_t i, int) {
          multiply(w.view(), begin + i * kPanels, begin + (i + 1) * kPanels, a.view, out.data(), w.rows());
        });
      });
      if (peak == nullptr) continue;
      limits.time(
          [&] { pool.run(pool.size(), [&](int64_t i, int) { done[static_cast<size_t>(i)] = peak(kRounds); }); });
    }
  }
  const double operations = 2.0 * static_cast<double>(piece * kPanelRows * w.cols() * tokens);
  fmt::print(" {:9.0f}", operations / products.fast() / 1e9);
  if (peak != nullptr) {
    const double limit = static_cast<double>(done[0] * pool.size()) / limits.fast();
    fmt::print(" {:7.0f} {:6.0f}%", limit / 1e9, 100 * operations / products.fast() / limit);
  }
  fmt::print("\n");
  std::fflush(stdout);
}

int run(const Options& options) {
  ThreadPool pool(options.threads);
  fmt::print("{} threads\n{:8} {:7} {:>7} {:>8} {:>8} {:>8} {:>8} {:>9} {:>7} {:>7}\n", pool.size(), "isa", "type",
             "bits", "1: GB/s", "read", "of read", "cached", fmt::format("{}: Gop/s", options.tokens), "peak",
             "of peak");
  const int64_t cols = options.cols;
  for (const Encoding& e : encodings()) {
    const auto named = [&](const std::string& n) { return n == e.name; };
    if (!family_of(e)) continue;
    if (!options.names.empty() && std::none_of(options.names.begin(), options.names.end(), named)) continue;
    const auto rows = static_cast<int64_t>(static_cast<double>(kColdBytes) * 8 / e.bits_per_weight() / cols) / 16 * 16;
    const auto piece = random_weights(e, 64 * cols);
    std::vector<int64_t> order(static_cast<size_t>(rows));
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i % 64);
    const PackedMatrix w = pack_matrix(e, rows, cols, piece.data(), order.data(), pool);
    for (const Kernels* k : all_kernels()) {
      if (k == all_kernels().front() || (!options.isa.empty() && k->name != options.isa)) continue;
      if (!verify(e, *k, 9, pool) || !verify(e, *k, 29, pool) || !verify(e, *k, 109, pool)) {
        fmt::print("{} {}: differs from the reference\n", k->name, e.name);
        return 1;
      }
      one_token(e, *k, w, pool);
      many_tokens(*k, w, options.tokens, pool);
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
    } else if (argument == "--cols" && i + 1 < argc) {
      options.cols = std::atoll(argv[++i]);
    } else if (argument == "--threads" && i + 1 < argc) {
      options.threads = std::atoi(argv[++i]);
    } else if (argument == "--isa" && i + 1 < argc) {
      options.isa = argv[++i];
    } else {
      options.names.push_back(argument);
    }
  }
  return lowbit::run(options);
}

#include "evaluate/machine_limits.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <new>

#include "base/large_pages.h"
#include "kernel/peak.h"

namespace lowbit {
namespace {

constexpr int64_t kWords = int64_t{64} << 20;  // 512 MiB: far beyond any cache
constexpr int64_t kPieces = 256;               // 2 MiB each, shared out as weights are

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Reads a piece in several places at once, which some cores need for their full rate and which slows down others.
template <int64_t kStreams>
uint64_t read_piece(const uint64_t* words) {
  constexpr int64_t kLength = kWords / kPieces / kStreams, kLine = 8;
  uint64_t sums[kStreams][kLine] = {};
  for (int64_t i = 0; i < kLength; i += kLine) {
    for (int64_t s = 0; s < kStreams; ++s) {
      for (int64_t lane = 0; lane < kLine; ++lane) sums[s][lane] += words[s * kLength + i + lane];
    }
  }
  uint64_t total = 0;
  for (const auto& stream : sums) {
    for (const uint64_t sum : stream) total += sum;
  }
  return total;
}

}  // namespace

void MachineLimits::Free::operator()(uint64_t* p) const { std::free(p); }

MachineLimits::MachineLimits(ThreadPool& pool)
    : pool_(pool), memory_(static_cast<uint64_t*>(std::aligned_alloc(kLargePage, kWords * sizeof(uint64_t)))) {
  if (!memory_) throw std::bad_alloc();
  wish_large_pages(memory_.get(), kWords * sizeof(uint64_t));  // as packed weights are
  pool_.run(kPieces, [&](int64_t piece, int) {
    std::fill_n(memory_.get() + piece * (kWords / kPieces), kWords / kPieces, uint64_t{1});
  });
}

void MachineLimits::measure() {
  measure_reading();
  code_operations_ = std::max(code_operations_, arithmetic(peaks().codes));
  float_operations_ = std::max(float_operations_, arithmetic(peaks().floats));
  bf16_operations_ = std::max(bf16_operations_, arithmetic(peaks().bf16));
}

void MachineLimits::measure_reading() {
  std::atomic<uint64_t> sink{0};
  for (int round = 0; round < 6; ++round) {
    const auto read = round % 2 == 0 ? read_piece<1> : read_piece<4>;
    const auto start = std::chrono::steady_clock::now();
    pool_.run(kPieces, [&](int64_t piece, int) { sink += read(memory_.get() + piece * (kWords / kPieces)); });
    read_bytes_ = std::max(read_bytes_, static_cast<double>(kWords * 8) / seconds_since(start));
  }
}

double MachineLimits::arithmetic(int64_t (*peak)(int64_t)) const {
  if (peak == nullptr) return 0;
  constexpr int64_t kRounds = 20000, kTasks = 16;
  double best = 0;
  for (int i = 0; i < 8; ++i) {
    std::atomic<int64_t> operations{0};
    const int64_t tasks = kTasks * pool_.size();
    const auto start = std::chrono::steady_clock::now();
    pool_.run(tasks, [&](int64_t, int) { operations += peak(kRounds); });
    best = std::max(best, static_cast<double>(operations.load()) / seconds_since(start));
  }
  return best;
}

}  // namespace lowbit

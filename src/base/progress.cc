#include "base/progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>

namespace lowbit {
namespace {

std::atomic<bool> silent{false};
constexpr int kWidth = 28;

std::string clock(double seconds) {
  const auto s = static_cast<int64_t>(seconds + 0.5);
  if (s >= 3600) return fmt::format("{}h{:02}m", s / 3600, s / 60 % 60);
  return fmt::format("{}:{:02}", s / 60, s % 60);
}

}  // namespace

void Progress::silence() { silent = true; }

Progress::Progress(std::string label, uint64_t total)
    : label_(std::move(label)), total_(std::max<uint64_t>(total, 1)), terminal_(isatty(STDERR_FILENO) == 1) {
  start_ = drawn_ = std::chrono::steady_clock::now();
}

Progress::~Progress() {
  const std::lock_guard lock(mutex_);
  draw(true);
}

void Progress::add(uint64_t amount, std::string_view note) {
  const std::lock_guard lock(mutex_);
  done_ = std::min(done_ + amount, total_);
  note_ = note;
  const auto now = std::chrono::steady_clock::now();
  const auto pause = terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(10'000);
  if (now - drawn_ < pause) return;
  drawn_ = now;
  draw(false);
}

void Progress::draw(bool last) {
  if (silent) return;
  const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  const double part = static_cast<double>(done_) / static_cast<double>(total_);
  const std::string time = last || part <= 0 ? clock(elapsed) : clock(elapsed / part * (1 - part)) + " left";
  if (!terminal_) {
    fmt::print(stderr, "{}: {:.0f} %, {}{}{}\n", label_, 100 * part, time, note_.empty() ? "" : ", ", note_);
  } else {
    const int filled = static_cast<int>(part * kWidth);
    fmt::print(stderr, "\r\033[K{} [{:#<{}}{:-<{}}] {:3.0f} % {} {}{}", label_, "", filled, "", kWidth - filled,
               100 * part, time, note_.substr(0, 48), last ? "\n" : "");
  }
  std::fflush(stderr);
}

}  // namespace lowbit

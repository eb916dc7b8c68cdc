#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <utility>

namespace lowbit {
namespace {

// Loops of a forward pass follow each other within microseconds: a short spin saves the futex round trip (up to 50 us)
// between them, and is short enough to cost nothing noticeable when another process wants the core. Told by the clock,
// because a pause takes anything from 10 to 140 cycles.
constexpr std::chrono::microseconds kSpin(50);
constexpr int kPausesPerLook = 32, kPausesPerLoop = 1000;

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");  // takes about as long as x86's pause; "yield" is no pause on most cores
#endif
}

}  // namespace

int available_processors() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

ThreadPool::ThreadPool(int threads) {
  if (threads <= 0) threads = available_processors();
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    ++generation_;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(int64_t count, const std::function<void(int64_t, int)>& task) {
  if (open_) throw std::logic_error("ThreadPool::run within one of its own tasks, or from two threads");
  if (workers_.empty() || count <= 1) {
    for (int64_t i = 0; i < count; ++i) task(i, 0);
    return;
  }
  task_ = &task;
  count_ = count;
  next_ = 0;
  open_ = true;
  ++generation_;
  if (sleeping_ > 0) {
    { const std::lock_guard lock(mutex_); }  // a worker between its last check and its sleep holds the mutex
    wake_.notify_all();
  }
  drain(0);
  open_ = false;
  for (int spins = 0; inside_ > 0; ++spins) {  // others finish the tasks they have begun
    if (spins < kPausesPerLoop) {
      relax();
    } else {
      std::this_thread::yield();
    }
  }
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void ThreadPool::drain(int worker) {
  for (int64_t i = next_++; i < count_; i = next_++) {
    try {
      (*task_)(i, worker);
    } catch (...) {
      const std::lock_guard lock(error_mutex_);
      if (!error_ || i < error_index_) {
        error_ = std::current_exception();
        error_index_ = i;
      }
      next_ = count_;
    }
  }
}

/// Waits a moment for a loop after the one seen. False if none came.
bool ThreadPool::wait_for(uint64_t seen) const {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < kPausesPerLook; ++i) {
      if (generation_ != seen) return true;
      relax();
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

void ThreadPool::work(int worker) {
  uint64_t seen = 0;
  for (;;) {
    if (!wait_for(seen)) {
      std::unique_lock lock(mutex_);
      ++sleeping_;
      wake_.wait(lock, [&] { return generation_ != seen; });
      --sleeping_;
    }
    seen = generation_;
    if (stop_) return;
    ++inside_;
    if (open_) drain(worker);
    --inside_;
  }
}

}  // namespace lowbit

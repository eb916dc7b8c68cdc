#include "base/thread_pool.h"

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

ThreadPool::ThreadPool(int threads, const NumaNodes& nodes)
    : nodes_(nodes_of_workers(nodes, threads > 0 ? threads : static_cast<int>(available_processors().size()))) {
  if (threads <= 0) threads = static_cast<int>(available_processors().size());
  shares_ = std::make_unique<Share[]>(static_cast<size_t>(threads));
  const auto bind = [this](const NumaNodes& to, int worker) {
    if (!nodes_.empty()) bind_thread(to[static_cast<size_t>(node(worker))]);
  };
  bind(nodes, 0);
  for (int i = 1; i < threads; ++i) {
    workers_.emplace_back([this, i, bind, nodes] {
      bind(nodes, i);
      work(i);
    });
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    ++generation_;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  if (!nodes_.empty()) bind_thread(available_processors());
}

void ThreadPool::run(int64_t count, const std::function<void(int64_t, int)>& task) {
  if (open_) throw std::logic_error("ThreadPool::run within one of its own tasks, or from two threads");
  if (workers_.empty() || count <= 1) {
    for (int64_t i = 0; i < count; ++i) task(i, 0);
    return;
  }
  if (count / size() >= int64_t{1} << 32) throw std::logic_error("ThreadPool::run of too many tasks");
  task_ = &task;
  count_ = count;
  failed_ = count;
  ++loop_;
  open_ = true;
  ++generation_;
  if (sleeping_ > 0) {
    { const std::lock_guard lock(mutex_); }  // a worker between its last check and its sleep holds the mutex
    wake_.notify_all();
  }
  drain(0);
  open_ = false;
  for (int worker = 1; worker < size(); ++worker) {  // others finish the tasks they have begun
    for (int spins = 0; shares_[static_cast<size_t>(worker)].inside; ++spins) {
      if (spins < kPausesPerLoop) {
        relax();
      } else {
        std::this_thread::yield();
      }
    }
  }
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

/// A task of that worker's share that nobody has taken; -1 if none is left.
int64_t ThreadPool::take(int of_worker) {
  const int64_t begin = count_ * of_worker / size(), end = count_ * (of_worker + 1) / size();
  std::atomic<uint64_t>& taken = shares_[static_cast<size_t>(of_worker)].taken;
  uint64_t state = taken;
  for (;;) {
    const int64_t done = state >> 32 == loop_ ? static_cast<int64_t>(state & 0xffffffffu) : 0;
    if (begin + done >= end) return -1;
    const uint64_t next = static_cast<uint64_t>(loop_) << 32 | static_cast<uint64_t>(done + 1);
    if (taken.compare_exchange_weak(state, next)) return begin + done;
  }
}

void ThreadPool::attempt(int64_t i, int worker) {
  if (i > failed_) return;
  try {
    (*task_)(i, worker);
  } catch (...) {
    const std::lock_guard lock(error_mutex_);
    if (i < failed_) {
      error_ = std::current_exception();
      failed_ = i;
    }
  }
}

void ThreadPool::drain_share(int of_worker, int worker) {
  for (int64_t task = take(of_worker); task >= 0; task = take(of_worker)) attempt(task, worker);
}

/// First its own share, then those of its node, then the others.
void ThreadPool::drain(int worker) {
  for (const bool near : {true, false}) {
    for (int i = 0; i < size(); ++i) {
      const int whose = (worker + i) % size();
      if ((node(whose) == node(worker)) == near) drain_share(whose, worker);
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
    Share& share = shares_[static_cast<size_t>(worker)];
    share.inside = true;
    if (open_) drain(worker);
    share.inside = false;
  }
}

}  // namespace lowbit

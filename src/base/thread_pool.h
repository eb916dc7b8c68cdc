// Threads that share out numbered tasks. The result of a loop never depends on how many threads ran it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace lowbit {

/// Runs loops of independent tasks. The calling thread works too; a worker that is late to wake finds its share done
/// by the others, so that a core taken by another process costs no more than its share (no static split, no barrier
/// that spins for ever). One loop at a time, and none within a task: std::logic_error.
class ThreadPool {
 public:
  /// `threads` counts the caller; 0 takes the number of processors this process may use.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  /// Calls task(i, worker) for each i in [0, count), worker in [0, size()). Returns when all are done. If a task
  /// throws, the remaining ones are skipped and the exception of the lowest-numbered failed task is rethrown here.
  void run(int64_t count, const std::function<void(int64_t i, int worker)>& task);

 private:
  void work(int worker);
  void drain(int worker);

  bool wait_for(uint64_t seen) const;

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<bool> stop_{false};
  std::atomic<int> sleeping_{0};

  // The loop in progress. Workers enter by raising inside_, and the loop is closed (open_) before run() returns.
  // What waiting threads read over and over lies apart from what working threads write.
  alignas(64) std::atomic<uint64_t> generation_{0};
  alignas(64) std::atomic<bool> open_{false};
  const std::function<void(int64_t, int)>* task_ = nullptr;
  int64_t count_ = 0;
  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) std::atomic<int> inside_{0};
  std::mutex error_mutex_;
  int64_t error_index_ = 0;
  std::exception_ptr error_;
};

/// The number of processors this process may use (its affinity mask, not the machine's total).
int available_processors();

}  // namespace lowbit

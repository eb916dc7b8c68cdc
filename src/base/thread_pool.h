// Threads that share out numbered tasks. The result of a loop never depends on how many threads ran it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/numa.h"

namespace lowbit {

/// Runs loops of independent tasks. The calling thread works too. Each worker begins with a share of its own, the same
/// each time, so that it finds what it needs in its caches and its memory; who has done his helps the others, and a
/// worker that is late to wake finds its share done, so that a core taken by another process costs no more than its
/// share (no barrier that spins for ever). One loop at a time, and none within a task: std::logic_error.
///
/// On a machine with several nodes of memory each worker stays on one node, and helps its neighbours there before it
/// helps others: what a loop over a matrix's rows wrote first is near whoever takes the same share of its rows later.
class ThreadPool {
 public:
  /// `threads` counts the caller, who is bound to a node as the workers are while the pool lives; 0 takes the number of
  /// processors this process may use.
  explicit ThreadPool(int threads = 0, const NumaNodes& nodes = numa_nodes());
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }
  /// The node of a worker's memory; 0 where there is only one.
  int node(int worker) const { return nodes_.empty() ? 0 : nodes_[static_cast<size_t>(worker)]; }

  /// Calls task(i, worker) for each i in [0, count), worker in [0, size()). Returns when all are done. If a task
  /// throws, those after it are skipped and the exception of the lowest-numbered task that fails is rethrown here.
  /// Throws std::logic_error for 2^32 tasks a worker or more.
  void run(int64_t count, const std::function<void(int64_t i, int worker)>& task);

 private:
  /// What a worker writes, apart from what others do.
  struct alignas(64) Share {
    std::atomic<uint64_t> taken{0};   ///< low half: tasks taken of its share in the loop whose number the high half is
    std::atomic<bool> inside{false};  ///< it may be at a task
  };

  void work(int worker);
  void drain(int worker);
  void drain_share(int of_worker, int worker);
  int64_t take(int of_worker);
  void attempt(int64_t i, int worker);

  bool wait_for(uint64_t seen) const;

  const std::vector<int> nodes_;  // of each worker; empty: one node
  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<bool> stop_{false};
  std::atomic<int> sleeping_{0};

  // The loop in progress. A worker enters by raising `inside` of its share, and the loop is closed (open_) before run()
  // returns. What waiting threads read over and over lies apart from what working threads write.
  alignas(64) std::atomic<uint64_t> generation_{0};
  alignas(64) std::atomic<bool> open_{false};
  const std::function<void(int64_t, int)>* task_ = nullptr;
  int64_t count_ = 0;
  uint32_t loop_ = 0;                // its number
  std::atomic<int64_t> failed_{0};   // the lowest task that failed; count_ if none did
  std::unique_ptr<Share[]> shares_;  // [size()]
  std::mutex error_mutex_;
  std::exception_ptr error_;
};

}  // namespace lowbit

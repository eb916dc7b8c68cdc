#include "base/thread_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <numeric>
#include <stdexcept>
#include <string>

namespace lowbit {
namespace {

TEST(ThreadPool, RunsEachTaskOnce) {
  for (int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    for (int64_t count : {0, 1, 2, 7, 1000}) {
      std::vector<int> runs(static_cast<size_t>(count));  // not atomic: two runs of one task would be a race
      std::vector<std::atomic<int>> at_once(static_cast<size_t>(threads));
      pool.run(count, [&](int64_t i, int worker) {
        ASSERT_GE(worker, 0);
        ASSERT_LT(worker, threads);
        EXPECT_EQ(at_once[static_cast<size_t>(worker)]++, 0) << "a worker number belongs to one thread at a time";
        ++runs[static_cast<size_t>(i)];
        --at_once[static_cast<size_t>(worker)];
      });
      EXPECT_THAT(runs, testing::Each(1));
    }
  }
}

TEST(ThreadPool, WhatTasksWriteIsSeenAfterwards) {
  ThreadPool pool(4);
  std::vector<int64_t> values(64);
  int64_t total = 0;
  for (int64_t loop = 0; loop < 2000; ++loop) {  // back to back, as in a forward pass
    pool.run(64, [&](int64_t i, int) { values[static_cast<size_t>(i)] += i + loop; });
    total = std::accumulate(values.begin(), values.end(), int64_t{0});
  }
  EXPECT_EQ(total, 2000 * 64 * 63 / 2 + 64 * (2000 * 1999 / 2));
}

TEST(ThreadPool, WakesAfterSleep) {
  ThreadPool pool(3);
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // longer than a worker spins
    std::atomic<int> runs{0};
    pool.run(10, [&](int64_t, int) { ++runs; });
    EXPECT_EQ(runs, 10);
  }
}

TEST(ThreadPool, SharesOutTheWork) {
  ThreadPool pool(2);
  std::atomic<int> inside{0};
  std::atomic<bool> together{false};
  pool.run(2, [&](int64_t, int) {
    ++inside;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (inside < 2 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    if (inside == 2) together = true;
  });
  EXPECT_TRUE(together) << "two tasks that wait for each other need two threads";
}

TEST(ThreadPool, RethrowsTheFirstError) {
  for (int threads : {1, 2, 4}) {
    ThreadPool pool(threads);
    for (int repeat = 0; repeat < 50; ++repeat) {
      std::atomic<int> runs{0};
      try {
        pool.run(1000, [&](int64_t i, int) {
          ++runs;
          if (i >= 3) throw std::runtime_error("task " + std::to_string(i));
        });
        FAIL();
      } catch (const std::runtime_error& error) {
        EXPECT_STREQ(error.what(), "task 3");
      }
      EXPECT_LT(runs, 1000) << "the rest is skipped";
      pool.run(10, [&](int64_t, int) { ++runs; });  // and the pool goes on working
    }
  }
}

TEST(ThreadPool, RefusesALoopWithinALoop) {
  ThreadPool pool(2);
  EXPECT_THROW(pool.run(4, [&](int64_t, int) { pool.run(4, [](int64_t, int) {}); }), std::logic_error);
}

TEST(ThreadPool, TakesTheProcessorsOfThisProcess) {
  EXPECT_FALSE(available_processors().empty());
  EXPECT_EQ(static_cast<size_t>(ThreadPool().size()), available_processors().size());
}

}  // namespace
}  // namespace lowbit

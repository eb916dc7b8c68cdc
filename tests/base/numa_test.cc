#include "base/numa.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <fstream>
#include <mutex>

#include "base/thread_pool.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(Numa, ReadsListsOfProcessors) {
  EXPECT_THAT(parse_processors("0-3,8,10-11"), ElementsAre(0, 1, 2, 3, 8, 10, 11));
  EXPECT_THAT(parse_processors("5"), ElementsAre(5));
  EXPECT_THAT(parse_processors("5\n"), ElementsAre(5));
  EXPECT_THAT(parse_processors(""), IsEmpty());
  EXPECT_THAT(parse_processors("-3"), IsEmpty());
  EXPECT_THAT(parse_processors("1,x,2"), ElementsAre(1));
  EXPECT_THAT(parse_processors("7-"), IsEmpty());
  EXPECT_THAT(parse_processors("1-4000000000"), IsEmpty()) << "beyond what a processor's number can be";
  EXPECT_THAT(parse_processors("3-1"), IsEmpty());
}

TEST(Numa, SpreadsWorkersOverNodesInProportion) {
  const NumaNodes nodes = {{0, 1, 2, 3}, {4, 5}};
  EXPECT_THAT(nodes_of_workers(nodes, 6), ElementsAre(0, 0, 0, 0, 1, 1));
  EXPECT_THAT(nodes_of_workers(nodes, 3), ElementsAre(0, 0, 1));
  EXPECT_THAT(nodes_of_workers(nodes, 12), ElementsAre(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1));
  EXPECT_THAT(nodes_of_workers({{0}, {1}}, 1), ElementsAre(0));
  EXPECT_THAT(nodes_of_workers({{0, 1}}, 2), IsEmpty()) << "one node: nothing to choose";
  EXPECT_THAT(nodes_of_workers({}, 2), IsEmpty());
}

/// What Linux tells of a machine, in a folder of the test's.
class FakeMachine {
 public:
  FakeMachine(const std::string& online, const std::vector<std::string>& processors)
      : folder_(std::filesystem::temp_directory_path() / ("lowbit-numa-" + std::to_string(getpid()))) {
    std::filesystem::create_directory(folder_);
    std::ofstream(folder_ / "online") << online << "\n";
    for (size_t node = 0; node < processors.size(); ++node) {
      const auto path = folder_ / ("node" + std::to_string(node));
      std::filesystem::create_directory(path);
      std::ofstream(path / "cpulist") << processors[node] << "\n";
    }
  }
  ~FakeMachine() { std::filesystem::remove_all(folder_); }
  FakeMachine(const FakeMachine&) = delete;
  FakeMachine& operator=(const FakeMachine&) = delete;
  NumaNodes nodes() const { return numa_nodes(folder_); }

 private:
  std::filesystem::path folder_;
};

TEST(Numa, TakesNodesWithProcessorsOfThisProcess) {
  const std::string ours = std::to_string(available_processors().front());
  EXPECT_THAT(FakeMachine("0-1", {ours, "1000-1003"}).nodes(),
              ElementsAre(ElementsAre(available_processors().front())));
  EXPECT_THAT(FakeMachine("0-1", {"", ours}).nodes(), ElementsAre(ElementsAre(available_processors().front())))
      << "a node of memory alone";
  EXPECT_THAT(FakeMachine("0-1", {ours}).nodes(), ElementsAre(ElementsAre(available_processors().front())));
  EXPECT_THAT(numa_nodes("/no/such/folder"), IsEmpty());
}

std::vector<int> processors_now() {
  cpu_set_t set;
  std::vector<int> out;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return out;
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (CPU_ISSET(i, &set)) out.push_back(i);
  }
  return out;
}

TEST(Numa, WorkersStayOnTheirNodes) {
  const std::vector<int>& ours = available_processors();
  if (ours.size() < 2) GTEST_SKIP() << "this machine has one processor";
  const NumaNodes nodes = {{ours[0]}, {ours[1]}};
  {
    ThreadPool pool(4, nodes);
    std::mutex mutex;
    std::vector<std::vector<int>> seen(4);
    for (int round = 0; round < 200; ++round) {
      pool.run(64, [&](int64_t, int worker) {
        const std::lock_guard lock(mutex);
        seen[static_cast<size_t>(worker)] = processors_now();
      });
    }
    for (int worker = 0; worker < 4; ++worker) {
      EXPECT_EQ(pool.node(worker), worker / 2);
      const std::vector<int>& where = seen[static_cast<size_t>(worker)];
      if (!where.empty()) {  // a worker that is never in time has done nothing
        EXPECT_EQ(where, nodes[static_cast<size_t>(worker / 2)]);
      }
    }
    EXPECT_EQ(processors_now(), nodes[0]) << "the caller is the first worker";
  }
  EXPECT_EQ(processors_now(), ours) << "and free again afterwards";
}

}  // namespace
}  // namespace lowbit

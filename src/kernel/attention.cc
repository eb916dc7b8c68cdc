#include <algorithm>

#include "kernel/kernels.h"

namespace lowbit {
namespace {

// Rows of a task: enough to outweigh the hand-over and to share loads of keys, few enough to share out a short prompt.
constexpr int64_t kTaskRows = 48;
// Below so many tasks a thread, a task's parts are tasks of their own: few tokens with much behind them.
constexpr int64_t kTasksPerThread = 8;

/// Some tokens of one key/value head, and the parts that they attend to.
struct Task {
  AttentionArgs args;
  int64_t first_part, parts;

  int64_t part_size() const { return args.tokens * args.heads * attention_record(args.head_dim); }
};

std::vector<Task> tasks_of(std::span<const AttentionArgs> all) {
  std::vector<Task> tasks;
  for (const AttentionArgs& a : all) {
    const int64_t step = std::max<int64_t>(1, kTaskRows / a.heads);
    for (int64_t t = 0; t < a.tokens; t += step) {
      Task task{a, 0, 0};
      task.args.q += t * a.stride;
      task.args.out += t * a.stride;
      task.args.position += t;
      task.args.tokens = std::min(step, a.tokens - t);
      const int64_t last = task.args.position + task.args.tokens - 1;
      task.first_part = a.window > 0 ? std::max<int64_t>(0, task.args.position - a.window + 1) / kAttentionPart : 0;
      task.parts = last / kAttentionPart + 1 - task.first_part;
      tasks.push_back(task);
    }
  }
  return tasks;
}

/// A task a thread: its parts one after another, in the thread's own room.
void attend_whole(const Kernels& k, std::span<const Task> tasks, ThreadPool& pool) {
  int64_t room = 0;
  for (const Task& t : tasks) room = std::max(room, t.parts * t.part_size());
  std::vector<float> records(static_cast<size_t>(room * pool.size()));
  // The last first: they attend to the most, and what is left at the end should be small.
  pool.run(static_cast<int64_t>(tasks.size()), [&](int64_t index, int worker) {
    const Task& t = tasks[tasks.size() - 1 - static_cast<size_t>(index)];
    float* own = records.data() + worker * room;
    for (int64_t p = 0; p < t.parts; ++p) k.attention_part(t.args, t.first_part + p, own + p * t.part_size());
    k.attention_join(t.args, own, t.first_part, t.part_size());
  });
}

/// A part a thread, then all are joined.
void attend_in_parts(const Kernels& k, std::span<const Task> tasks, ThreadPool& pool) {
  struct Part {
    const Task* task;
    int64_t part, record;
  };
  std::vector<Part> parts;
  std::vector<int64_t> first_records;
  int64_t size = 0;
  for (const Task& t : tasks) {
    first_records.push_back(size);
    for (int64_t p = 0; p < t.parts; ++p, size += t.part_size()) parts.push_back({&t, t.first_part + p, size});
  }
  std::vector<float> records(static_cast<size_t>(size));
  pool.run(static_cast<int64_t>(parts.size()), [&](int64_t i, int) {
    const Part& p = parts[static_cast<size_t>(i)];
    k.attention_part(p.task->args, p.part, records.data() + p.record);
  });
  pool.run(static_cast<int64_t>(tasks.size()), [&](int64_t i, int) {
    const Task& t = tasks[static_cast<size_t>(i)];
    k.attention_join(t.args, records.data() + first_records[static_cast<size_t>(i)], t.first_part, t.part_size());
  });
}

}  // namespace

void attend(const Kernels& k, std::span<const AttentionArgs> all, ThreadPool& pool) {
  const std::vector<Task> tasks = tasks_of(all);
  const bool enough = static_cast<int64_t>(tasks.size()) >= kTasksPerThread * pool.size();
  const bool split = std::any_of(tasks.begin(), tasks.end(), [](const Task& t) { return t.parts > 1; });
  if (enough || !split) return attend_whole(k, tasks, pool);
  attend_in_parts(k, tasks, pool);
}

}  // namespace lowbit

#include <algorithm>
#include <iterator>

#include "base/half.h"
#include "kernel/kernels.h"

namespace lowbit {
namespace {

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
    const int64_t step = std::max<int64_t>(1, kAttentionRows / a.heads);
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

/// Where each thread decodes keys and values, if it has to.
class Room {
 public:
  Room(std::span<const Task> tasks, int threads) {
    for (const Task& t : tasks) {
      if (t.args.type == KvType::Q8_0) size_ = std::max(size_, attention_room(t.args.head_dim));
    }
    values_.resize(static_cast<size_t>(size_ * threads));
  }
  AttentionArgs with(AttentionArgs args, int worker) {
    args.room = values_.data() + worker * size_;
    return args;
  }

 private:
  int64_t size_ = 0;
  std::vector<float> values_;
};

/// A task a thread: its parts one after another, in the thread's own room.
void attend_whole(const Kernels& k, std::span<const Task> tasks, ThreadPool& pool) {
  int64_t size = 0;
  for (const Task& t : tasks) size = std::max(size, t.parts * t.part_size());
  std::vector<float> records(static_cast<size_t>(size * pool.size()));
  Room room(tasks, pool.size());
  // The last first: they attend to the most, and what is left at the end should be small.
  pool.run(static_cast<int64_t>(tasks.size()), [&](int64_t index, int worker) {
    const Task& t = tasks[tasks.size() - 1 - static_cast<size_t>(index)];
    float* own = records.data() + worker * size;
    const AttentionArgs args = room.with(t.args, worker);
    for (int64_t p = 0; p < t.parts; ++p) k.attention_part(args, t.first_part + p, own + p * t.part_size());
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
  Room room(tasks, pool.size());
  pool.run(static_cast<int64_t>(parts.size()), [&](int64_t i, int worker) {
    const Part& p = parts[static_cast<size_t>(i)];
    k.attention_part(room.with(p.task->args, worker), p.part, records.data() + p.record);
  });
  pool.run(static_cast<int64_t>(tasks.size()), [&](int64_t i, int) {
    const Task& t = tasks[static_cast<size_t>(i)];
    k.attention_join(t.args, records.data() + first_records[static_cast<size_t>(i)], t.first_part, t.part_size());
  });
}

/// Elements i of a row become to[i * stride].
template <typename T>
void scatter(const T* from, int64_t count, T* to, int64_t stride) {
  for (int64_t i = 0; i < count; ++i) to[i * stride] = from[i];
}

/// Codes and scales of a row [head_dim], elements apart by `stride`.
void store_codes(const Kernels& k, const float* row, int64_t head_dim, uint8_t* codes, uint16_t* scales,
                 int64_t stride) {
  for (int64_t i = 0; i < head_dim; i += kKvScaled) {
    ActivationTile tile;
    k.quantize_row(row + i, kKvScaled, &tile, 1);
    scatter(tile.codes, kKvScaled, reinterpret_cast<int8_t*>(codes) + i * stride, stride);
    scales[i / kKvScaled * stride] = f32_to_f16(tile.scale);
  }
}

void to_halves(const Kernels& k, KvType type, const float* x, int64_t n, uint16_t* out) {
  if (type == KvType::F16) return k.to_f16(x, n, out);
  std::transform(x, x + n, out, f32_to_bf16);
}

}  // namespace

void store_position(const Kernels& k, KvType type, const float* key, const float* value, int64_t head_dim,
                    int64_t position, uint8_t* keys, uint8_t* values) {
  const int64_t place = position % kKeyBlock;
  uint8_t* block = keys + position / kKeyBlock * key_block_bytes(type, head_dim);
  uint8_t* row = values + position * value_bytes(type, head_dim);
  if (type == KvType::Q8_0) {
    static_assert(kKvScaled == kTileCols);
    auto* scales = reinterpret_cast<uint16_t*>(block + kKeyBlock * head_dim);
    store_codes(k, key, head_dim, block + place, scales + place, kKeyBlock);
    return store_codes(k, value, head_dim, row, reinterpret_cast<uint16_t*>(row + head_dim), 1);
  }
  to_halves(k, type, value, head_dim, reinterpret_cast<uint16_t*>(row));
  uint16_t halves[64];
  for (int64_t i = 0; i < head_dim; i += std::ssize(halves)) {
    const int64_t n = std::min<int64_t>(std::ssize(halves), head_dim - i);
    to_halves(k, type, key + i, n, halves);
    scatter(halves, n, reinterpret_cast<uint16_t*>(block) + i * kKeyBlock + place, kKeyBlock);
  }
}

void attend(const Kernels& k, std::span<const AttentionArgs> all, ThreadPool& pool) {
  const std::vector<Task> tasks = tasks_of(all);
  const bool enough = static_cast<int64_t>(tasks.size()) >= kTasksPerThread * pool.size();
  const bool split = std::any_of(tasks.begin(), tasks.end(), [](const Task& t) { return t.parts > 1; });
  if (enough || !split) return attend_whole(k, tasks, pool);
  attend_in_parts(k, tasks, pool);
}

}  // namespace lowbit

// How fast a model runs, beside what the machine could do.
#pragma once

#include <string>
#include <vector>

#include "evaluate/machine_limits.h"
#include "model/transformer.h"

namespace lowbit {

/// What is timed: `sequences` sequences side by side, each with `depth` tokens behind it, take up `prompt` tokens at
/// once, then `generate` tokens one by one, one of each sequence in a pass. A depth of more than 512 repeats the keys
/// and values of the first 512 tokens.
struct SpeedTest {
  int64_t prompt = 0, generate = 0, sequences = 1, depth = 0;
  KvType cache = KvType::F16;

  /// As llama-bench has it: "pp512", "tg128", "pp512+tg128", then " x8" for sequences, " @ d4096" for depth.
  std::string name() const;
  int64_t tokens() const { return sequences * (prompt + generate); }
};

/// The work of one forward pass, at the least.
struct PassWork {
  double bytes = 0;             ///< weights, keys and values, each read once
  double code_operations = 0;   ///< products with coded weights, 2 operations each
  double float_operations = 0;  ///< products with float weights, and attention
  double bf16_operations = 0;   ///< products with 16-bit weights by Kernels::matmul_bf16

  double seconds_reading(const MachineLimits& limits) const { return bytes / limits.read_bytes(); }
  double seconds_computing(const MachineLimits& limits) const {
    if (limits.code_operations() == 0 || limits.float_operations() == 0) return 0;  // not known
    const double bf16 = bf16_operations == 0 ? 0 : bf16_operations / limits.bf16_operations();
    return code_operations / limits.code_operations() + float_operations / limits.float_operations() + bf16;
  }
};

/// The timings of one test.
struct SpeedResult {
  SpeedTest test;
  std::vector<double> seconds;  ///< one a repetition
  std::vector<PassWork> passes;

  double tokens_per_second() const;  ///< mean over the repetitions
  double deviation() const;          ///< of tokens a second: standard deviation of the sample; 0 for one repetition
  /// The least time that the machine's limits leave, by the time taken: each pass has to read its bytes and to do its
  /// operations, both at once at best.
  double fraction_of_limit(const MachineLimits& limits) const;
  bool bound_by_memory(const MachineLimits& limits) const;  ///< most of that least time is spent reading
};

/// Runs a test after a warm-up, `repetitions` times; the limits are measured before and after. `source` is what `model`
/// was made of. Throws Error if the caches do not fit in memory.
SpeedResult measure_speed(Transformer& model, const ModelSource& source, const SpeedTest& test, int repetitions,
                          MachineLimits& limits);

}  // namespace lowbit

// Quantized directories as GGUF files: the same numbers in blocks that GGUF has, where there are such blocks.
#pragma once

#include <string>
#include <vector>

#include "quantize/plan.h"

namespace lowbit {

struct RepackedTensor {
  std::string name;  ///< in the output
  std::string from;  ///< what the directory has: "gptq 4-bit, groups of 128"
  const Encoding* encoding = nullptr;
  bool exact = false;  ///< every value is equal to the directory's, bit for bit
};

/// Chooses, for each tensor of the plan that its source keeps in pieces, the smallest GGUF encoding that holds all its
/// values exactly; where none does, the smallest that holds them but for the rounding of scales or minima to binary16,
/// and F16 where the levels are not evenly spaced or groups do not keep to blocks. Reads each such tensor once. The
/// plan's mixture becomes that of the encoding that most weights get, if there is one.
std::vector<RepackedTensor> plan_repack(const ModelSource& source, Plan& plan, ThreadPool& pool);

}  // namespace lowbit

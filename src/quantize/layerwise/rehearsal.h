// How long a job will take on this machine, as busy as it is now, found by doing a little of it. In seconds. What
// memory it takes shows in the process that rehearsed.
#pragma once

#include <cstdint>
#include <span>

#include "base/thread_pool.h"
#include "quantize/directory.h"
#include "quantize/layerwise/layerwise.h"
#include "quantize/plan.h"

namespace lowbit {

/// Of tensors that stream: rows of one tensor of each encoding are quantized.
double rehearse(const Plan& plan, const ModelSource& source, ThreadPool& pool);
double rehearse(const DirectoryPlan& plan, const GroupScheme& scheme, const ModelSource& source, ThreadPool& pool);

/// Of layer-by-layer work: the first layer is quantized with all of the calibration text, and nothing stored. Layers
/// are alike, so that it is the largest, too.
double rehearse_layerwise(const ModelSource& source, std::span<const int32_t> tokens, int64_t length,
                          LayerwiseOptions options, LayerwiseTarget& target, ThreadPool& pool);

}  // namespace lowbit

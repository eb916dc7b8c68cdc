// Search for grouped encodings: the scale and zero point of one group, from its weights and what is known of its
// inputs. Whoever has compensated weights (GPTQ) asks with those.
#pragma once

#include <cstdint>
#include <vector>

#include "encoding/group.h"

namespace lowbit {

enum class GroupSearch : uint8_t {
  /// The greatest magnitude is the outermost level: 2^(bits-1) - 1 for integers, 1 in a table. With zero points, as
  /// MinMax.
  AbsMax,
  /// The range of the weights, 0 included, on all codes; symmetric ranges have scale 2 * greatest / (2^bits - 1), whose
  /// positive end is clipped by half a step. (GPTQ's own rule, compressed-tensors' observer.)
  MinMax,
  /// The range of the weights, 0 not included. (AWQ.) Without zero points, as MinMax.
  Range,
  /// Least squared error, each weight counted by sqrt(mean of the group's squares + its own square), which keeps the
  /// few great ones that matter from being clipped, times its importance.
  Squares,
  /// Least sum of |error|^0.7 by half-quadratic splitting, only the zero point being optimised (HQQ). Float zeros only.
  HalfQuadratic,
};

struct GroupParameters {
  float scale = 0, zero = 0;  ///< as the format stores them, unless its scales are doubly quantized
};

/// What errors cost in a group's output: of each group of consecutive columns, the mean of x x^T over its inputs x.
/// [count, count] of one group after another.
struct GroupGrams {
  int64_t group = 0;  ///< columns; the last group may have fewer
  std::vector<float> values{};

  bool empty() const { return values.empty(); }
  /// Of the group that begins at this column.
  const float* at(int64_t column) const { return values.data() + column * group; }
};

/// Parameters for weights x[count] of one group; importance[count] >= 0, or nullptr. Values must be finite. The same on
/// every machine. A group of zeros gets a scale that decodes to zeros.
///
/// With `gram`, Squares compares ranges by the error of the group's output, e G e, as AWQ's search for clipped ranges
/// does (Lin et al., arXiv 2306.00978, and its code).
GroupParameters search_group(const GroupFormat& format, GroupSearch search, const float* x, const float* importance,
                             int64_t count, const float* gram = nullptr);

}  // namespace lowbit

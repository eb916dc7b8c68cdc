#include "evaluate/sensitivity_layers.h"

#include <algorithm>

namespace lowbit {
namespace {

constexpr double kMostProducts = 2e13;  // multiplications that a measurement may take: some minutes of a few cores
constexpr int64_t kFewest = 8;          // layers that are measured in any case
constexpr int64_t kMatrices = 7;        // of a layer

std::vector<bool> spread(int64_t layers, int64_t count) {
  std::vector<bool> out(static_cast<size_t>(layers));
  for (int64_t i = 0; i < count; ++i) {
    out[static_cast<size_t>(count == 1 ? 0 : i * (layers - 1) / (count - 1))] = true;
  }
  return out;
}

uint64_t passes(const std::vector<bool>& measured) {
  uint64_t sum = measured.size();  // the changed embedding's
  for (size_t l = 0; l < measured.size(); ++l) sum += measured[l] ? kMatrices * (measured.size() - l) : 0;
  return sum;
}

}  // namespace

MeasuredLayers::MeasuredLayers(const ModelConfig& c, int64_t tokens) {
  const int64_t q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  const double layer = static_cast<double>((2 * q + 2 * kv) * c.hidden + 3 * c.hidden * c.ffn);
  int64_t count = c.layers;
  do {
    measured_ = spread(c.layers, count);
  } while (static_cast<double>(passes(measured_)) * layer * static_cast<double>(tokens) > kMostProducts &&
           --count >= std::min(kFewest, c.layers));
}

std::pair<int, int> MeasuredLayers::neighbours(int layer) const {
  int below = layer, above = layer;
  while (!measured(below)) --below;
  while (!measured(above)) ++above;
  return {below, above};
}

uint64_t MeasuredLayers::work() const { return passes(measured_); }

int64_t MeasuredLayers::count() const { return std::ranges::count(measured_, true); }

}  // namespace lowbit

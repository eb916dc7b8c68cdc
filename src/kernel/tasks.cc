#include "kernel/tasks.h"

#include <algorithm>

namespace lowbit {
namespace {

/// Tasks a thread: a core that was late or slow leaves the rest to the others.
constexpr int64_t kTasksPerThread = 8;
/// Tokens up to which reading the weights takes longest.
constexpr int64_t kMemoryBoundTokens = 8;
/// Panels below which a task reads its activations too often.
constexpr int64_t kTaskPanels = 8;

}  // namespace

Tasks share_out(int64_t panels, int64_t tokens, int threads) {
  const int64_t wanted = kTasksPerThread * threads;
  Tasks t{std::max<int64_t>(1, panels / wanted), 0, tokens, 1};
  if (tokens >= 2 * kTaskTokens && t.panels < kTaskPanels) {
    t.panels = kTaskPanels;
    t.tokens = kTaskTokens;
    t.token_ranges = (tokens + kTaskTokens - 1) / kTaskTokens;
    // Fewer panels after all where that leaves threads without work.
    while (t.panels > 2 && panels / t.panels * t.token_ranges < 2 * threads) t.panels /= 2;
  } else if (tokens > 1 && t.panels > 1) {
    t.panels = t.panels / 2 * 2;  // kernels take two at a time
  }
  t.panel_ranges = (panels + t.panels - 1) / t.panels;
  return t;
}

PanelRange panels_of(const Tasks& tasks, int64_t range, int64_t before, int64_t panels) {
  if (tasks.tokens <= kMemoryBoundTokens) {
    return {panels * range / tasks.panel_ranges, panels * (range + 1) / tasks.panel_ranges};
  }
  const int64_t begin = range * tasks.panels - before;
  return {std::max<int64_t>(0, begin), std::min(panels, begin + tasks.panels)};
}

int64_t activation_bytes(ActivationForm form, int64_t cols) {
  if (form == ActivationForm::Floats) return cols * static_cast<int64_t>(sizeof(float));
  if (form == ActivationForm::Bf16) return (cols + 1) / 2 * static_cast<int64_t>(sizeof(uint32_t));
  if (form == ActivationForm::Chunks) return cols / kChunkCols * static_cast<int64_t>(sizeof(ActivationChunk));
  return (cols + kTileCols - 1) / kTileCols * static_cast<int64_t>(sizeof(ActivationTile));
}

ActivationView tokens_of(const Activations& x, int64_t first, int64_t last) {
  ActivationView view = x.view;
  view.data = static_cast<const std::byte*>(view.data) + first * activation_bytes(x.form, view.cols);
  view.tokens = last - first;
  return view;
}

}  // namespace lowbit

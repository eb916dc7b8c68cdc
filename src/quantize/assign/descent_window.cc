#include "quantize/assign/descent_window.h"

#include <algorithm>

#include "quantize/assign/round.h"

namespace lowbit {

DescentWindow::DescentWindow(RoundedStrip& strip, const std::vector<float>& hessian, int64_t widest)
    : s_(strip),
      h_(hessian.data()),
      cols_(static_cast<int64_t>(strip.target.size())),
      pull_(static_cast<size_t>(widest)),
      level_(pull_.size()),
      moved_(pull_.size()) {}

float DescentWindow::level(int8_t code) const {
  return s_.levels->table != nullptr ? s_.levels->table[static_cast<uint8_t>(code)] : static_cast<float>(code);
}

void DescentWindow::load(std::span<const int32_t> columns, const LaneFloats& scale, const LaneFloats& min) {
  columns_.assign(columns.begin(), columns.end());
  width_ = static_cast<int64_t>(columns.size());
  scale_ = scale;
  min_ = min;
  for (int64_t j = 0; j < width_; ++j) pull_[j] = LaneFloats{};
  for (int64_t j = 0, count = 0; j < width_; j += count) {
    for (count = 1; j + count < width_ && columns_[j + count] == columns_[j] + count;) ++count;
    search_kernels().take_up({pull_.data() + j, s_.error.data(), row(j), cols_, cols_, static_cast<int>(count)});
  }
  for (int64_t j = 0; j < width_; ++j) {
    const LaneBytes& codes = s_.codes[column(j)];
    for (int l = 0; l < kLanes; ++l) {
      pull_[j].lane[l] = -pull_[j].lane[l];
      level_[j].lane[l] = level(codes.lane[l]);
    }
  }
}

void DescentWindow::costs(WindowCost* out) const {
  LaneFloats ll{}, l1{}, lp{}, p1{};
  float ones = 0;
  for (int64_t j = 0; j < width_; ++j) {
    const float* h = row(j);
    LaneFloats hl{};
    float sum = 0;
    for (int64_t i = 0; i < width_; ++i) {
      sum += h[column(i)];
      for (int l = 0; l < kLanes; ++l) hl.lane[l] += h[column(i)] * level_[i].lane[l];
    }
    ones += sum;
    for (int l = 0; l < kLanes; ++l) {
      ll.lane[l] += level_[j].lane[l] * hl.lane[l];
      l1.lane[l] += hl.lane[l];
      lp.lane[l] += level_[j].lane[l] * pull_[j].lane[l];
      p1.lane[l] += pull_[j].lane[l];
    }
  }
  for (int l = 0; l < kLanes; ++l) out[l] = {ll.lane[l], l1.lane[l], ones, lp.lane[l], p1.lane[l]};
}

void DescentWindow::move_grid(const LaneFloats& scale, const LaneFloats& min) {
  for (int64_t j = 0; j < width_; ++j) {
    for (int l = 0; l < kLanes; ++l) {
      moved_[j].lane[l] = (scale.lane[l] - scale_.lane[l]) * level_[j].lane[l] - (min.lane[l] - min_.lane[l]);
    }
  }
  scale_ = scale;
  min_ = min;
  for (int64_t j = 0; j < width_; ++j) {
    const float* h = row(j);
    for (int64_t i = 0; i < width_; ++i) {
      for (int l = 0; l < kLanes; ++l) pull_[j].lane[l] -= h[column(i)] * moved_[i].lane[l];
    }
    LaneFloats& error = s_.error[column(j)];
    for (int l = 0; l < kLanes; ++l) error.lane[l] -= moved_[j].lane[l];
  }
}

void DescentWindow::improve_codes() {
  LaneFloats inverse;
  for (int l = 0; l < kLanes; ++l) inverse.lane[l] = scale_.lane[l] != 0 ? 1 / scale_.lane[l] : 0;
  for (int64_t j = 0; j < width_; ++j) {
    const float* h = row(j);
    const size_t c = column(j);
    const float stiffness = 1 / h[column(j)];
    LaneFloats step;
    bool any = false;
    for (int l = 0; l < kLanes; ++l) {
      const float now = s_.target[c].lane[l] - s_.error[c].lane[l];
      const float place = (now + pull_[j].lane[l] * stiffness + min_.lane[l]) * inverse.lane[l];
      const int8_t code = nearest_code(place);
      const float value = scale_.lane[l] * level(code) - min_.lane[l];
      step.lane[l] = inverse.lane[l] != 0 ? value - now : 0;
      if (inverse.lane[l] != 0) s_.codes[c].lane[l] = code;
      any = any || step.lane[l] != 0;
      s_.error[c].lane[l] -= step.lane[l];
    }
    if (!any) continue;
    for (int64_t i = j + 1; i < width_; ++i) {
      for (int l = 0; l < kLanes; ++l) pull_[i].lane[l] -= h[column(i)] * step.lane[l];
    }
  }
}

int8_t DescentWindow::nearest_code(float place) const {
  const LevelSet& levels = *s_.levels;
  if (levels.table == nullptr) {
    return static_cast<int8_t>(nearest_integer(std::clamp(place, levels.low, levels.high)));
  }
  int code = 0;
  for (int i = 0; i < 15; ++i) code += place > (levels.table[i] + levels.table[i + 1]) * 0.5F ? 1 : 0;
  return static_cast<int8_t>(code);
}

}  // namespace lowbit

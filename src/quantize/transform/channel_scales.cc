#include "quantize/transform/channel_scales.h"

#include <algorithm>
#include <cmath>

namespace lowbit {
namespace {

// Beyond these a channel would be lost in its group, or its group in it.
constexpr double kLeast = 1.0 / 256, kGreatest = 256;
constexpr double kNothing = 1e-4;  // AutoAWQ's guard

std::vector<float> bounded(const std::vector<double>& scales) {
  std::vector<float> out;
  for (const double s : scales) out.push_back(static_cast<float>(std::clamp(s, kLeast, kGreatest)));
  return out;
}

}  // namespace

ChannelStatistics activation_statistics(const float* x, int64_t tokens, int64_t channels) {
  const auto n = static_cast<size_t>(channels);
  ChannelStatistics out;
  std::vector<double> sum(n), squares(n);
  out.max_activation.resize(n);
  for (int64_t t = 0; t < tokens; ++t) {
    for (size_t c = 0; c < n; ++c) {
      const float a = std::abs(x[t * channels + static_cast<int64_t>(c)]);
      sum[c] += static_cast<double>(a);
      squares[c] += static_cast<double>(a) * static_cast<double>(a);
      out.max_activation[c] = std::max(out.max_activation[c], a);
    }
  }
  for (size_t c = 0; c < n; ++c) {
    out.mean_activation.push_back(static_cast<float>(sum[c] / static_cast<double>(tokens)));
    out.mean_square.push_back(static_cast<float>(squares[c] / static_cast<double>(tokens)));
  }
  out.mean_weight.resize(n);
  out.max_weight.resize(n);
  return out;
}

void add_weights(ChannelStatistics& s, std::span<const float> weights, int64_t rows_before) {
  const size_t n = s.mean_weight.size(), rows = weights.size() / n;
  std::vector<double> sum(n);
  for (size_t r = 0; r < rows; ++r) {
    const std::span<const float> row = weights.subspan(r * n, n);
    float greatest = 0;
    for (const float w : row) greatest = std::max(greatest, std::abs(w));
    for (size_t c = 0; c < n; ++c) {
      const float a = std::abs(row[c]);
      if (greatest > 0) sum[c] += static_cast<double>(a / greatest);
      s.max_weight[c] = std::max(s.max_weight[c], a);
    }
  }
  const auto before = static_cast<double>(rows_before), all = before + static_cast<double>(rows);
  for (size_t c = 0; c < n; ++c) {
    s.mean_weight[c] = static_cast<float>((static_cast<double>(s.mean_weight[c]) * before + sum[c]) / all);
  }
}

ChannelStatistics merge_heads(const ChannelStatistics& s, int64_t heads, int64_t kv_heads, int64_t dim) {
  const int64_t group = heads / kv_heads;
  const auto merge = [&](const std::vector<float>& from, bool greatest) {
    std::vector<float> out(static_cast<size_t>(kv_heads * dim));
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t i = 0; i < dim; ++i) {
        float& to = out[static_cast<size_t>(h / group * dim + i)];
        const float value = from[static_cast<size_t>(h * dim + i)];
        to = greatest ? std::max(to, value) : to + value / static_cast<float>(group);
      }
    }
    return out;
  };
  return {merge(s.mean_activation, false), merge(s.max_activation, true), merge(s.mean_square, false),
          merge(s.mean_weight, false), merge(s.max_weight, true)};
}

std::vector<float> awq_scales(const ChannelStatistics& s, double ratio, bool duo) {
  std::vector<double> out;
  for (size_t c = 0; c < s.mean_activation.size(); ++c) {
    double scale = std::pow(static_cast<double>(s.mean_activation[c]), ratio);
    if (duo) scale /= std::pow(static_cast<double>(s.mean_weight[c]), 1 - ratio) + kNothing;
    out.push_back(std::max(scale, kNothing));
  }
  const auto [least, greatest] = std::minmax_element(out.begin(), out.end());
  const double middle = std::sqrt(*least * *greatest);
  for (double& scale : out) scale /= middle;
  return bounded(out);
}

std::vector<float> smoothquant_scales(const ChannelStatistics& s, double migration) {
  std::vector<double> out;
  for (size_t c = 0; c < s.max_activation.size(); ++c) {
    const auto x = static_cast<double>(s.max_activation[c]), w = static_cast<double>(s.max_weight[c]);
    out.push_back(x > 0 && w > 0 ? std::pow(x, migration) / std::pow(w, 1 - migration) : 1);
  }
  return bounded(out);
}

}  // namespace lowbit

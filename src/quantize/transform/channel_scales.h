// The factors that the published methods propose for the channels between a weight and those that read them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lowbit {

/// What is known of some channels: of the activations in them over calibration tokens, and of the weights that read
/// them.
struct ChannelStatistics {
  std::vector<float> mean_activation;  ///< mean |x|
  std::vector<float> max_activation;   ///< max |x|
  std::vector<float> mean_square;      ///< mean x^2
  std::vector<float> mean_weight;      ///< mean over rows of |w| / (greatest |w| of its row)
  std::vector<float> max_weight;       ///< max |w|
};

/// Of inputs x[tokens, channels].
ChannelStatistics activation_statistics(const float* x, int64_t tokens, int64_t channels);
/// Adds a matrix [rows, channels] that reads the channels. mean_weight becomes a mean over all rows added, given how
/// many they were before.
void add_weights(ChannelStatistics& statistics, std::span<const float> weights, int64_t rows_before);

/// Sums up channels that share a factor: `heads` heads of `dim` read `kv_heads` heads.
ChannelStatistics merge_heads(const ChannelStatistics& statistics, int64_t heads, int64_t kv_heads, int64_t dim);

/// AWQ (Lin et al., arXiv 2306.00978): mean |x|^ratio, or with `duo`, as AutoAWQ has it, also over
/// mean_weight^(1 - ratio); with geometric middle 1.
std::vector<float> awq_scales(const ChannelStatistics& statistics, double ratio, bool duo);

/// SmoothQuant (Xiao et al., arXiv 2211.10438): max |x|^migration / max |w|^(1 - migration). Channels that carry
/// nothing get 1.
std::vector<float> smoothquant_scales(const ChannelStatistics& statistics, double migration);

}  // namespace lowbit

#include "quantize/layerwise/layer_problem.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "quantize/calibration/calibrate.h"
#include "quantize/layerwise/cholesky.h"
#include "quantize/layerwise/layerwise.h"

namespace lowbit {
namespace {

constexpr int kDampingTries = 5;       // each ten times the one before
constexpr int64_t kRowsAtOnce = 1024;  // of weights that are multiplied by matrices of [cols, cols]

/// x[rows, cols] with its columns in the order of rounding.
std::vector<float> in_order(const std::vector<float>& x, int64_t rows, const ColumnRanks& ranks) {
  const auto cols = static_cast<int64_t>(ranks.columns.size());
  std::vector<float> out(x.size());
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) out[static_cast<size_t>(r * cols + c)] = x[r * cols + ranks.at(c)];
  }
  return out;
}

}  // namespace

LayerProblem::LayerProblem(const LayerwiseOptions& options, int64_t cols, int64_t residual, ThreadPool& pool,
                           int64_t group)
    : options_(options),
      cols_(cols),
      pool_(pool),
      squares_(options.gptq ? 0 : static_cast<size_t>(cols)),
      inputs_(options.gptq ? cols : 0, options.gptq ? cols : 0, true),
      cross_(options.gptq && options.alpha > 0 ? cols : 0, cols, false),
      error_(options.gptq && options.beta > 0 ? residual : 0, cols, false),
      groups_(cols, group) {
  problem_.sweeps = options.sweeps;
}

void LayerProblem::add_inputs(const float* x, int64_t tokens) {
  tokens_ += tokens;
  if (options_.input_peaks) {
    for (int64_t i = 0; i < tokens * cols_; ++i) problem_.input_peak = std::max(problem_.input_peak, std::fabs(x[i]));
  }
  if (!groups_.empty()) groups_.add(x, tokens, pool_);
  if (options_.gptq) return inputs_.add(x, x, tokens, pool_);
  add_squares(x, tokens, cols_, squares_.data(), pool_);
}

void LayerProblem::add_original(const float* quantized, const float* original, int64_t tokens) {
  cross_.add(original, quantized, tokens, pool_);
}

void LayerProblem::add_lacking(const float* quantized, const float* lacking, int64_t tokens) {
  error_.add(quantized, lacking, tokens, pool_);
}

void LayerProblem::close(const std::string& what) {
  if (options_.gptq) problem_.hessian = inputs_.take_mean();
  if (!groups_.empty()) problem_.grams = groups_.take_mean();
  for (int64_t i = 0; i < cols_; ++i) {
    const float mean_square =
        options_.gptq
            ? problem_.hessian[static_cast<size_t>(i * cols_ + i)]
            : static_cast<float>(squares_[static_cast<size_t>(i)] / static_cast<double>(std::max<int64_t>(1, tokens_)));
    if (!std::isfinite(mean_square)) {
      fail("the inputs of {} are not finite on the calibration text: the model's weights are damaged", what);
    }
    problem_.importance.push_back(mean_square);
  }
  const auto alpha = static_cast<float>(options_.alpha), beta = static_cast<float>(options_.beta);
  if (!cross_.empty()) pull_ = cross_.take_mean();
  for (size_t i = 0; i < pull_.size(); ++i) pull_[i] = alpha * (pull_[i] - problem_.hessian[i]);
  if (!error_.empty()) lack_ = error_.take_mean();
  for (float& x : lack_) x *= beta;
}

void LayerProblem::prepare(int64_t rows,
                           const std::function<std::vector<float>(int64_t first, int64_t count)>& weights) {
  if (pull_.empty() || rows >= cols_) return;
  std::vector<float> all;
  all.reserve(static_cast<size_t>(rows * cols_));
  for (int64_t first = 0; first < rows; first += kRowsAtOnce) {
    const int64_t count = std::min(kRowsAtOnce, rows - first);
    const std::vector<float> some = wanted(weights(first, count).data(), first, count);
    all.insert(all.end(), some.begin(), some.end());
  }
  wanted_ = std::move(all);
  std::vector<float>().swap(pull_);
  std::vector<float>().swap(lack_);
}

void LayerProblem::factor(int64_t block) {
  problem_.ranks = rank_columns(options_.order, problem_.importance, block);
  const ColumnRanks& ranks = problem_.ranks;
  double mean = 0;
  for (const float x : problem_.importance) mean += static_cast<double>(x) / static_cast<double>(cols_);
  if (mean <= 0) return;
  double damping = options_.damping;
  for (int attempt = 0; attempt < kDampingTries; ++attempt, damping *= 10) {
    SquareMatrix h(cols_);
    pool_.run(cols_, [&](int64_t i, int) {
      const float* row = problem_.hessian.data() + ranks.at(i) * cols_;
      for (int64_t j = 0; j < cols_; ++j) h.at(i, j) = row[ranks.at(j)];
    });
    for (int64_t i = 0; i < cols_; ++i) h.at(i, i) += damping * mean;
    std::vector<float> u;
    if (!inverse_factor(std::move(h), u, pool_)) continue;
    problem_.spread = make_spread(std::move(u), cols_);
    damping_ = damping;
    added_ = damping * mean;
    for (int64_t i = 0; i < cols_; ++i)
      problem_.hessian[static_cast<size_t>(i * cols_ + i)] += static_cast<float>(added_);
    return;
  }
}

/// What the product of rows with H should gain.
std::vector<float> LayerProblem::wanted(const float* weights, int64_t first, int64_t rows) const {
  std::vector<float> out;
  if (!pull_.empty()) {
    out = product(weights, rows, pull_, cols_, cols_, pool_);
  } else {
    out.resize(static_cast<size_t>(rows * cols_));
  }
  if (lack_.empty()) return out;
  const float* lack = lack_.data() + first * cols_;
  for (size_t i = 0; i < out.size(); ++i) out[i] += lack[i];
  return out;
}

void LayerProblem::correct(int64_t first, int64_t rows, std::vector<float>& weights) const {
  if (problem_.spread.empty() || (pull_.empty() && lack_.empty() && wanted_.empty())) return;
  for (int64_t done = 0; done < rows; done += kRowsAtOnce) {
    const int64_t count = std::min(kRowsAtOnce, rows - done);
    float* to = weights.data() + done * cols_;
    std::vector<float> gain;
    if (wanted_.empty()) {
      gain = wanted(to, first + done, count);
    } else {
      gain.assign(wanted_.begin() + (first + done) * cols_, wanted_.begin() + (first + done + count) * cols_);
    }
    const ColumnRanks& ranks = problem_.ranks;
    if (!ranks.columns.empty()) gain = in_order(gain, count, ranks);
    const std::vector<float> change = times_inverse(gain, count, problem_.spread, pool_);
    for (int64_t r = 0; r < count; ++r) {
      for (int64_t c = 0; c < cols_; ++c) to[r * cols_ + ranks.at(c)] += change[static_cast<size_t>(r * cols_ + c)];
    }
  }
}

double LayerProblem::energy(const std::vector<float>& errors, int64_t rows) const {
  double sum = 0;
  if (problem_.hessian.empty()) {
    for (size_t i = 0; i < errors.size(); ++i) {
      const auto e = static_cast<double>(errors[i]);
      sum += e * e * static_cast<double>(problem_.importance[i % static_cast<size_t>(cols_)]);
    }
    return sum;
  }
  for (int64_t done = 0; done < rows; done += kRowsAtOnce) {
    const int64_t count = std::min(kRowsAtOnce, rows - done);
    const float* x = errors.data() + done * cols_;
    const std::vector<float> y = product(x, count, problem_.hessian, cols_, cols_, pool_);
    for (int64_t i = 0; i < count * cols_; ++i) {
      const auto e = static_cast<double>(x[i]);
      sum += e * (static_cast<double>(y[static_cast<size_t>(i)]) - added_ * e);
    }
  }
  return sum;
}

}  // namespace lowbit

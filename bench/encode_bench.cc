// Encoding of weights, every type: first checked, then timed, decoding too.
//   encode_bench [--threads 1] [--gguf FILE --tensor NAME [--imatrix FILE]] [TYPE...]
// Without a file the weights are 1024 x 4096 normal numbers, whose importance is log-normal. Error: root mean square of
// what rounding lost over that of the weights, without importance; "weighted": with importance, given to the search.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "container/gguf.h"
#include "container/imatrix.h"
#include "quantize/encode.h"

namespace lowbit {
namespace {

constexpr int64_t kRowsAtOnce = 16;

struct Options {
  int threads = 1;
  std::string gguf, tensor, imatrix;
  std::vector<std::string> names;
};

struct Matrix {
  int64_t rows, cols;
  std::vector<float> weights;     // [rows, cols]
  std::vector<float> importance;  // [cols]
};

Matrix random_matrix() {
  Matrix m{1024, 4096, {}, {}};
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < m.rows * m.cols; ++i) m.weights.push_back(0.02F * normal(random));
  for (int64_t i = 0; i < m.cols; ++i) m.importance.push_back(std::exp(normal(random)));
  return m;
}

Matrix read_matrix(const Options& options) {
  const GgufFile file(options.gguf);
  const TensorInfo& tensor = file.at(options.tensor);
  Matrix m{tensor.rows(), tensor.cols(), std::vector<float>(static_cast<size_t>(tensor.elements())), {}};
  read_rows(file, tensor, 0, m.rows, m.weights.data());
  if (!options.imatrix.empty()) m.importance = read_imatrix(options.imatrix).find(tensor.name, m.cols);
  if (m.importance.empty()) m.importance.assign(static_cast<size_t>(m.cols), 1.0F);
  return m;
}

template <typename F>
double fastest(F f) {
  using Clock = std::chrono::steady_clock;
  double best = 1e9, total = 0;
  for (int i = 0; i < 3 || total < 0.3; ++i) {
    const auto start = Clock::now();
    f();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::min(best, seconds);
    total += seconds;
  }
  return best;
}

void encode(const Encoding& e, const Matrix& m, const float* importance, ThreadPool& pool, std::byte* out) {
  pool.run((m.rows + kRowsAtOnce - 1) / kRowsAtOnce, [&](int64_t i, int) {
    const int64_t first = i * kRowsAtOnce, count = std::min(kRowsAtOnce, m.rows - first);
    encode_rows(e, Search::Weighted, m.weights.data() + first * m.cols, count, m.cols, importance,
                out + e.bytes(static_cast<uint64_t>(first * m.cols)));
  });
}

/// Root mean square error over root mean square weight, each column counting as its importance.
double relative_error(const Encoding& e, const Matrix& m, const std::byte* bytes, const float* importance) {
  std::vector<float> row(static_cast<size_t>(m.cols));
  double error = 0, power = 0;
  for (int64_t r = 0; r < m.rows; ++r) {
    decode(e, bytes + e.bytes(static_cast<uint64_t>(r * m.cols)), m.cols, row.data());
    for (int64_t c = 0; c < m.cols; ++c) {
      const double x = m.weights[static_cast<size_t>(r * m.cols + c)], off = x - row[static_cast<size_t>(c)];
      const double counts = importance != nullptr ? importance[c] : 1.0;
      error += counts * off * off;
      power += counts * x * x;
    }
  }
  return std::sqrt(error / power);
}

/// What any sound encoder does; its error's bound is generous.
bool verify(const Encoding& e, const Matrix& m, const std::vector<std::byte>& bytes, double error) {
  std::vector<std::byte> row(e.bytes(static_cast<uint64_t>(m.cols)));
  encode_rows(e, Search::Weighted, m.weights.data() + m.cols, 1, m.cols, nullptr, row.data());
  if (std::memcmp(row.data(), bytes.data() + row.size(), row.size()) != 0) {
    fmt::print("{}: a row alone gives other bytes\n", e.name);
    return false;
  }
  if (!(error * static_cast<double>(e.levels.size()) < 2.5)) {
    fmt::print("{}: relative error {}\n", e.name, error);
    return false;
  }
  return true;
}

int run(const Options& options) {
  ThreadPool pool(options.threads);
  const Matrix m = options.gguf.empty() ? random_matrix() : read_matrix(options);
  const auto count = static_cast<double>(m.rows * m.cols);
  fmt::print("{} x {} weights, {} threads, million weights a second\n", m.rows, m.cols, pool.size());
  fmt::print("{:8} {:>6} {:>8} {:>10} {:>8} {:>9} {:>9}\n", "type", "bits", "encode", "weighted", "decode", "error",
             "weighted");
  for (const Encoding& e : encodings()) {
    if (e.kind != EncodingKind::Block || m.cols % e.block != 0) continue;
    if (!options.names.empty() &&
        std::find(options.names.begin(), options.names.end(), e.name) == options.names.end()) {
      continue;
    }
    std::vector<std::byte> plain(e.bytes(m.weights.size())), weighted(plain.size());
    std::vector<float> decoded(static_cast<size_t>(kRowsAtOnce * m.cols));
    const int64_t some = std::min(m.rows, kRowsAtOnce) * m.cols;
    const double plain_time = fastest([&] { encode(e, m, nullptr, pool, plain.data()); });
    const double weighted_time = fastest([&] { encode(e, m, m.importance.data(), pool, weighted.data()); });
    const double decode_time = fastest([&] { decode(e, plain.data(), some, decoded.data()); });
    const double error = relative_error(e, m, plain.data(), nullptr);
    if (!verify(e, m, plain, error)) return 1;
    fmt::print("{:8} {:6.3f} {:8.1f} {:10.1f} {:8.0f} {:9.5f} {:9.5f}\n", e.name, e.bits_per_weight(),
               count / plain_time / 1e6, count / weighted_time / 1e6, static_cast<double>(some) / decode_time / 1e6,
               error, relative_error(e, m, weighted.data(), m.importance.data()));
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace lowbit

int main(int argc, char** argv) {
  lowbit::Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const bool value = i + 1 < argc;
    if (argument == "--threads" && value) {
      options.threads = std::atoi(argv[++i]);
    } else if (argument == "--gguf" && value) {
      options.gguf = argv[++i];
    } else if (argument == "--tensor" && value) {
      options.tensor = argv[++i];
    } else if (argument == "--imatrix" && value) {
      options.imatrix = argv[++i];
    } else {
      options.names.push_back(argument);
    }
  }
  try {
    return lowbit::run(options);
  } catch (const lowbit::Error& error) {
    fmt::print(stderr, "encode_bench: {}\n", error.what());
    return 1;
  }
}

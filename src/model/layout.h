// Which tensors a model has, and what each is called and how its rows are ordered in the other container.
#pragma once

#include <string>
#include <vector>

#include "model/source.h"

namespace lowbit {

/// One tensor of an output file.
struct OutputTensor {
  WeightId id;
  std::string name;                    ///< in the output
  std::vector<int64_t> shape;          ///< outermost first
  const TensorInfo* source = nullptr;  ///< nullptr: computed, see `values`
  std::vector<int64_t> row_order;      ///< output row r is source row row_order[r]; empty: as it is
  std::vector<float> values;           ///< of a tensor that the source does not hold (rotary factors)

  int64_t elements() const;
  int64_t cols() const { return shape.back(); }
  int64_t rows() const { return elements() / cols(); }
};

/// The matrix that logits come from: the token embedding where the two are one.
WeightId output_matrix(const ModelConfig& config);

/// The tensors of a GGUF file made from this source, in llama.cpp's order (by layer, then by name, embedding first).
std::vector<OutputTensor> gguf_tensors(const ModelSource& source);
/// The tensors of a Hugging Face directory made from this source.
std::vector<OutputTensor> hf_tensors(const ModelSource& source);

/// GGUF stores the rows of q and k of some architectures so that rotary pairs are neighbours. For a matrix of `heads`
/// heads: the Hugging Face row that each GGUF row comes from, and the reverse.
std::vector<int64_t> interleaved_rows(int64_t rows, int64_t heads);
std::vector<int64_t> split_rows(int64_t rows, int64_t heads);
/// The same for the matrix or bias of a role, one way or the other; empty where the two orders agree.
std::vector<int64_t> rotary_order(const ModelConfig& config, Role role, bool to_gguf);

}  // namespace lowbit

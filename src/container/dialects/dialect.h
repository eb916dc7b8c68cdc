// Dialects: how quantized Hugging Face directories keep grouped weights in safetensors. Each knows the names, shapes
// and packing of its tensors and its "quantization_config"; none knows how the numbers were found.
//
// A module is what transformers calls a Linear, "model.layers.0.self_attn.q_proj". Its weight is [rows, cols] =
// [outputs, inputs]. In the dialects' tensors it is a handful of tensors whose names begin with the module's and a dot.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "container/tensor_store.h"
#include "encoding/group.h"

namespace lowbit {

/// A quantized module as its tensors' shapes and the config tell it.
struct GroupModule {
  std::string name;
  int64_t rows = 0, cols = 0;
  GroupFormat format;
  std::vector<int32_t> group_of_column;  ///< as GroupMatrix has it: empty but for activation order
  std::vector<std::string> tensors;      ///< all that the weight is made of (a bias is not)
  InputRounding inputs;
};

/// One tensor of a module, to be written.
struct ModuleTensor {
  std::string name;
  std::vector<int64_t> shape;
  EncodingId type;
};

class Dialect {
 public:
  virtual ~Dialect() = default;

  /// As "quant_method" has it.
  virtual std::string_view name() const = 0;

  // Reading.
  /// All quantized modules of a store, in the order of their first tensors. Throws Error for pieces that are missing,
  /// have other shapes than they should, or contradict the config. Reads no codes.
  virtual std::vector<GroupModule> modules(const TensorStore& store) const = 0;
  /// Throws Error for numbers that no writer makes (an index of a group that is not there).
  virtual GroupMatrix read(const TensorStore& store, const GroupModule& module) const = 0;

  // Writing.
  /// Why this dialect cannot hold a matrix; empty if it can.
  virtual std::string refusal(const GroupFormat& format, int64_t rows, int64_t cols) const = 0;
  /// The tensors of a module that refusal() lets through.
  virtual std::vector<ModuleTensor> tensors(const std::string& module, const GroupFormat& format, int64_t rows,
                                            int64_t cols) const = 0;
  /// The bytes of these tensors, in the same order.
  virtual std::vector<std::vector<std::byte>> pack(const GroupMatrix& matrix) const = 0;
  /// config.json's "quantization_config". `skipped`: modules that stay dense, "lm_head" for example.
  virtual Json config(const std::vector<std::string>& skipped) const = 0;
  /// A further file that holds the same object, for old readers; empty: none.
  virtual std::string config_file() const { return ""; }
};

/// The dialect of a directory, by its config.json's "quantization_config". Throws Error for methods and variants that
/// lowbit does not read, naming those that it does.
std::unique_ptr<Dialect> dialect_of(const Json& quantization_config, const std::string& where);

/// What a written config says of how it came to be. Reading ignores all of it.
struct GptqOptions {
  int bits = 4;
  int64_t group = 128;  ///< 0: whole rows
  bool symmetric = true;
  bool second_version = false;  ///< checkpoint_format "gptq_v2": zero points are stored as they are
  bool activation_order = false, static_groups = false, group_aware = false, true_sequential = true;
  double damping = 0.05;
};
std::unique_ptr<Dialect> gptq_dialect(const GptqOptions& options);

struct AwqOptions {
  int64_t group = 128;
};
std::unique_ptr<Dialect> awq_dialect(const AwqOptions& options);

struct BitsandbytesOptions {
  GroupLevels levels = GroupLevels::NF4;  ///< Integer: LLM.int8
  bool doubly_quantized = false;
  EncodingId compute = EncodingId::BF16;  ///< what readers compute in: the original's own type
};
std::unique_ptr<Dialect> bitsandbytes_dialect(const BitsandbytesOptions& options);

struct HqqOptions {
  int bits = 4;
  int64_t group = 64;
  EncodingId compute = EncodingId::BF16;  ///< also the type of scales and zeros: F32, F16 or BF16
};
std::unique_ptr<Dialect> hqq_dialect(const HqqOptions& options);

std::unique_ptr<Dialect> eetq_dialect();

struct CompressedTensorsOptions {
  int bits = 4;
  int64_t group = 128;  ///< 0: a scale a row
  bool symmetric = true;
  bool per_tensor = false;  ///< one scale for the whole weight
  bool packed = true;       ///< "pack-quantized" (weights only); otherwise "int-quantized"
  enum class Activations { None, PerToken, PerTensor } activations = Activations::None;
  EncodingId scale = EncodingId::BF16;
};
std::unique_ptr<Dialect> compressed_tensors_dialect(const CompressedTensorsOptions& options);

}  // namespace lowbit

#include "container/gguf_parse.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <numeric>
#include <type_traits>

#include "base/error.h"
#include "container/checks.h"
#include "container/ggml_types.h"

namespace lowbit {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF is read in place");

constexpr int kMaxArrayDepth = 4;  // the specification allows arrays of arrays; no file uses more than one level
constexpr uint32_t kMaxDimensions = 4;

/// Reads the header front to back; nothing is allocated before the bytes that fill it are known to be there.
class Cursor {
 public:
  Cursor(std::span<const std::byte> file, const std::string& where) : file_(file), where_(where) {}

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return file_.size() - position_; }

  std::span<const std::byte> take(uint64_t size, std::string_view what) {
    if (size > remaining()) {
      fail("{}: truncated or corrupt: {} needs {} bytes at {}, the file has {}; download or write it again", where_,
           what, size, position_, file_.size());
    }
    const auto bytes = file_.subspan(position_, size);
    position_ += size;
    return bytes;
  }

  template <typename T>
  T number(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  bool boolean(std::string_view what) {
    const auto value = number<uint8_t>(what);
    if (value > 1) fail("{}: {} should be true or false, not {}; the file is corrupt", where_, what, value);
    return value == 1;
  }

  std::string text(std::string_view what) {
    const auto bytes = take(number<uint64_t>(what), what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  /// A count of things that take at least `least` bytes each.
  uint64_t count(uint64_t least, std::string_view what) { return check_count(number<uint64_t>(what), least, what); }
  uint64_t check_count(uint64_t n, uint64_t least, std::string_view what) const {
    if (n > remaining() / least) {
      fail("{}: {} claims {} entries, more than the file's {} bytes can hold; it is truncated or corrupt", where_, what,
           n, file_.size());
    }
    return n;
  }

  const std::string& where() const { return where_; }

 private:
  std::span<const std::byte> file_;
  const std::string& where_;
  uint64_t position_ = 0;
};

std::shared_ptr<GgufArray> read_array(Cursor& in, std::string_view what, int depth);

/// Calls visit(element) with a value of the C++ type of GGUF's value type `type`; false if there is no such type.
template <typename Visit>
bool with_type(uint32_t type, const Visit& visit) {
  switch (type) {
    case 0:
      return visit(uint8_t{}), true;
    case 1:
      return visit(int8_t{}), true;
    case 2:
      return visit(uint16_t{}), true;
    case 3:
      return visit(int16_t{}), true;
    case 4:
      return visit(uint32_t{}), true;
    case 5:
      return visit(int32_t{}), true;
    case 6:
      return visit(float{}), true;
    case 7:
      return visit(bool{}), true;
    case 8:
      return visit(std::string{}), true;
    case 9:
      return visit(std::shared_ptr<GgufArray>{}), true;
    case 10:
      return visit(uint64_t{}), true;
    case 11:
      return visit(int64_t{}), true;
    case 12:
      return visit(double{}), true;
    default:
      return false;
  }
}

template <typename T>
T read_one(Cursor& in, std::string_view what, int depth) {
  if constexpr (std::is_same_v<T, bool>) {
    return in.boolean(what);
  } else if constexpr (std::is_same_v<T, std::string>) {
    return in.text(what);
  } else if constexpr (std::is_same_v<T, std::shared_ptr<GgufArray>>) {
    return read_array(in, what, depth + 1);
  } else {
    return in.number<T>(what);
  }
}

template <typename T>
constexpr uint64_t least_bytes() {
  if constexpr (std::is_same_v<T, bool>) return 1;
  if constexpr (std::is_same_v<T, std::string>) return sizeof(uint64_t);
  if constexpr (std::is_same_v<T, std::shared_ptr<GgufArray>>) return sizeof(uint32_t) + sizeof(uint64_t);
  return sizeof(T);
}

std::shared_ptr<GgufArray> read_array(Cursor& in, std::string_view what, int depth) {
  if (depth > kMaxArrayDepth) {
    fail("{}: {} nests arrays more than {} deep; the file is corrupt", in.where(), what, kMaxArrayDepth);
  }
  auto array = std::make_shared<GgufArray>();
  const auto type = in.number<uint32_t>(what);
  const bool known = with_type(type, [&]<typename T>(const T&) {
    const uint64_t count = in.count(least_bytes<T>(), what);
    std::vector<T> items;
    items.reserve(count);
    if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
      items.resize(count);
      if (count != 0) std::memcpy(items.data(), in.take(count * sizeof(T), what).data(), count * sizeof(T));
    } else {
      for (uint64_t i = 0; i < count; ++i) items.push_back(read_one<T>(in, what, depth));
    }
    array->items = std::move(items);
  });
  if (!known) fail("{}: {} is an array of the unknown type {}; the file is corrupt or newer", in.where(), what, type);
  return array;
}

void read_metadata(Cursor& in, uint64_t count, GgufMetadata& metadata) {
  metadata.where = in.where();
  for (uint64_t i = 0; i < count; ++i) {
    std::string key = in.text("a metadata key");
    check_name(key, "a metadata key", in.where());
    const std::string what = fmt::format("metadata key {}", shown(key));
    if (metadata.find(key) != nullptr) fail("{}: {} occurs twice; the file is corrupt", in.where(), what);
    const auto type = in.number<uint32_t>(what);
    const bool known = with_type(
        type, [&]<typename T>(const T&) { metadata.set(std::move(key), GgufValue(read_one<T>(in, what, 0))); });
    if (!known) fail("{}: {} has the unknown type {}; the file is corrupt or newer", in.where(), what, type);
  }
}

uint64_t read_alignment(const GgufMetadata& metadata) {
  constexpr std::string_view kKey = "general.alignment";
  if (metadata.find(kKey) == nullptr) return 32;
  const int64_t alignment = metadata.int_at(kKey);
  if (alignment < 1 || alignment > (int64_t{1} << 30) || !std::has_single_bit(static_cast<uint64_t>(alignment))) {
    fail("{}: {} is {}, which is no power of two up to 2^30; the file is corrupt", metadata.where, kKey, alignment);
  }
  return static_cast<uint64_t>(alignment);
}

GgufTensor read_tensor(Cursor& in) {
  GgufTensor tensor;
  tensor.info.name = in.text("a tensor's name");
  check_name(tensor.info.name, "a tensor", in.where());
  const std::string what = fmt::format("tensor {}", shown(tensor.info.name));
  const auto dimensions = in.number<uint32_t>(what);
  if (dimensions > kMaxDimensions) {
    fail("{}: {} has {} dimensions, at most {} are legal; the file is corrupt", in.where(), what, dimensions,
         kMaxDimensions);
  }
  for (uint32_t d = 0; d < dimensions; ++d) tensor.info.shape.push_back(in.number<int64_t>(what));
  std::reverse(tensor.info.shape.begin(), tensor.info.shape.end());  // GGUF names the contiguous dimension first
  const auto type = in.number<uint32_t>(what);
  tensor.info.encoding = encoding_of_ggml_type(type);
  if (tensor.info.encoding == nullptr) {
    fail("{}: {} has the encoding {}, which lowbit does not read; take a file with another one", in.where(), what,
         ggml_type_name(type));
  }
  tensor.info.bytes = checked_bytes(tensor.info, in.where());
  tensor.offset = in.number<uint64_t>(what);  // relative to the data for now
  return tensor;
}

/// Turns offsets into places in the file; refuses those outside of it, misaligned, or shared by two tensors.
void place_tensors(std::vector<GgufTensor>& tensors, uint64_t data_begin, uint64_t alignment, uint64_t file_bytes,
                   const std::string& where) {
  const uint64_t available = file_bytes > data_begin ? file_bytes - data_begin : 0;
  for (GgufTensor& tensor : tensors) {
    const std::string name = shown(tensor.info.name);
    if (tensor.offset % alignment != 0) {
      fail("{}: tensor {} is at offset {}, no multiple of the alignment {}; the file is corrupt", where, name,
           tensor.offset, alignment);
    }
    if (tensor.offset > available || tensor.info.bytes > available - tensor.offset) {
      if (tensor.offset > static_cast<uint64_t>(INT64_MAX) - data_begin) {
        fail("{}: tensor {} is at the impossible offset {}; the file is corrupt", where, name, tensor.offset);
      }
      const uint64_t begin = data_begin + tensor.offset;
      fail("{}: truncated: tensor {} needs bytes {} to {} (exclusive), the file has {}; download or write it again",
           where, name, begin, begin + tensor.info.bytes, file_bytes);
    }
    tensor.offset =
        std::min(data_begin + tensor.offset, file_bytes);  // an empty tensor may lie in padding that is not there
  }
  std::vector<const GgufTensor*> order;
  for (const GgufTensor& tensor : tensors) {
    if (tensor.info.bytes != 0) order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i - 1]->offset + order[i - 1]->info.bytes > order[i]->offset) {
      fail("{}: tensors {} and {} share bytes; the file is corrupt", where, shown(order[i - 1]->info.name),
           shown(order[i]->info.name));
    }
  }
}

void check_magic(std::span<const std::byte> file, const std::string& where) {
  if (file.size() < 4 || std::memcmp(file.data(), "GGUF", 4) != 0) fail_wrong_format(file, "a GGUF file", where);
}

void check_version(uint32_t version, const std::string& where) {
  if (version == 2 || version == 3) return;
  if ((version & 0xffff) == 0 && version != 0) {
    fail("{}: is a big-endian GGUF file, which lowbit does not read; convert it with gguf-py's gguf-convert-endian",
         where);
  }
  if (version > 3) fail("{}: is GGUF version {}; lowbit reads 2 and 3", where, version);
  fail("{}: is GGUF version {}, which llama.cpp no longer reads either; convert the model again", where, version);
}

}  // namespace

GgufContents parse_gguf(std::span<const std::byte> file, const std::string& where) {
  check_magic(file, where);
  Cursor in(file, where);
  in.take(4, "the magic number");
  check_version(in.number<uint32_t>("the version"), where);
  const auto tensor_count = in.number<uint64_t>("the number of tensors");
  const auto metadata_count = in.number<uint64_t>("the number of metadata keys");
  // The least entry: key or name of one byte with its length, type, and a value of one byte or an offset.
  in.check_count(metadata_count, 8 + 1 + 4 + 1, "the metadata");
  in.check_count(tensor_count, 8 + 1 + 4 + 4 + 8, "the list of tensors");

  GgufContents contents;
  read_metadata(in, metadata_count, contents.metadata);
  const uint64_t alignment = read_alignment(contents.metadata);
  in.check_count(tensor_count, 8 + 1 + 4 + 4 + 8, "the list of tensors");
  contents.tensors.reserve(tensor_count);
  for (uint64_t i = 0; i < tensor_count; ++i) contents.tensors.push_back(read_tensor(in));
  const uint64_t data_begin = (in.position() + alignment - 1) / alignment * alignment;
  place_tensors(contents.tensors, data_begin, alignment, file.size(), where);
  return contents;
}

}  // namespace lowbit

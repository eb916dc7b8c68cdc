#include "container/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <set>
#include <type_traits>
#include <utility>

#include "base/error.h"
#include "container/checks.h"
#include "container/ggml_types.h"
#include "container/gguf_parse.h"

namespace lowbit {
namespace {

constexpr std::string_view kSplitNo = "split.no", kSplitCount = "split.count", kSplitTensors = "split.tensors.count";

/// "model-00001-of-00003.gguf" -> "model-0000N-of-00003.gguf" with split number `no` (from 0); empty if the name of the
/// first split is another one.
std::filesystem::path split_path(const std::filesystem::path& first, uint64_t no, uint64_t count) {
  const std::string name = first.filename().string();
  const std::string ending = fmt::format("-{:05}-of-{:05}.gguf", 1, count);
  if (!name.ends_with(ending)) return {};
  return first.parent_path() /
         fmt::format("{}-{:05}-of-{:05}.gguf", name.substr(0, name.size() - ending.size()), no + 1, count);
}

/// Appends little-endian values, as GGUF has them.
class HeaderBuilder {
 public:
  template <typename T>
  void number(T value) {
    const auto raw = std::bit_cast<std::array<char, sizeof(T)>>(value);
    bytes_.append(raw.data(), raw.size());
  }
  void text(std::string_view value) {
    number<uint64_t>(value.size());
    bytes_.append(value);
  }
  void value(const GgufValue& value) {
    number<uint32_t>(static_cast<uint32_t>(value.index()));
    std::visit([&](const auto& v) { one(v); }, value);
  }
  std::string& bytes() { return bytes_; }

 private:
  template <typename T>
  void one(const T& value) {
    if constexpr (std::is_same_v<T, std::string>) {
      text(value);
    } else if constexpr (std::is_same_v<T, std::shared_ptr<GgufArray>>) {
      number<uint32_t>(static_cast<uint32_t>(value->items.index()));
      std::visit(
          [&]<typename Item>(const std::vector<Item>& items) {
            number<uint64_t>(items.size());
            for (const Item& item : items) one<Item>(item);
          },
          value->items);
    } else if constexpr (std::is_same_v<T, bool>) {
      number<uint8_t>(value ? 1 : 0);
    } else {
      number<T>(value);
    }
  }
  std::string bytes_;
};

void check_planned(const TensorInfo& tensor, const std::string& where) {
  constexpr size_t kNameLimit = 64;  // llama.cpp keeps names in arrays of this size, with a NUL
  check_name(tensor.name, "a tensor", where);
  if (tensor.name.size() >= kNameLimit) {
    fail("{}: tensor name {} has {} bytes; llama.cpp reads at most {}", where, tensor.name, tensor.name.size(),
         kNameLimit - 1);
  }
  if (tensor.shape.size() > 4)
    fail("{}: tensor {} has {} dimensions, GGUF holds 4", where, tensor.name, tensor.shape.size());
  if (ggml_type(*tensor.encoding) < 0)
    fail("{}: tensor {} is {}, which GGUF cannot hold", where, tensor.name, tensor.encoding->name);
}

uint64_t planned_alignment(const GgufMetadata& metadata, const std::string& where) {
  const GgufValue* value = metadata.find("general.alignment");
  if (value == nullptr) return 32;
  const auto* alignment = std::get_if<uint32_t>(value);
  if (alignment == nullptr || *alignment < 8 || !std::has_single_bit(*alignment)) {
    fail("{}: general.alignment should be a power of two of at least 8, as a 32-bit unsigned integer", where);
  }
  return *alignment;
}

uint64_t padded(uint64_t bytes, uint64_t alignment) { return (bytes + alignment - 1) / alignment * alignment; }

}  // namespace

GgufFile::GgufFile(const std::filesystem::path& path) {
  where_ = path.string();
  const auto add_contents = [this](MappedFile file, GgufContents& contents) {
    const size_t number = add_file(std::move(file));
    for (GgufTensor& tensor : contents.tensors) add(std::move(tensor.info), number, tensor.offset);
  };
  MappedFile file(path);
  GgufContents first = parse_gguf(file.bytes(), where_);
  add_contents(std::move(file), first);
  metadata_ = std::move(first.metadata);

  const int64_t count = metadata_.int_or(kSplitCount, 1);
  if (count < 1 || count > 99999) fail("{}: {} is {}; the file is corrupt", where_, kSplitCount, count);
  if (const int64_t no = metadata_.int_or(kSplitNo, 0); no != 0) {
    fail("{}: is split {} of {}; give the first one, whose name ends in -{:05}-of-{:05}.gguf", where_, no + 1, count, 1,
         count);
  }
  for (int64_t no = 1; no < count; ++no) {
    const std::filesystem::path other = split_path(path, static_cast<uint64_t>(no), static_cast<uint64_t>(count));
    if (other.empty()) {
      fail("{}: is the first of {} splits, but its name does not end in -{:05}-of-{:05}.gguf; give it its name back",
           where_, count, 1, count);
    }
    if (!std::filesystem::exists(other))
      fail("{}: is missing: split {} of {}; download it too", other.string(), no + 1, count);
    MappedFile other_file(other);
    GgufContents contents = parse_gguf(other_file.bytes(), other.string());
    if (contents.metadata.int_or(kSplitNo, -1) != no || contents.metadata.int_or(kSplitCount, -1) != count) {
      fail("{}: should be split {} of {}, but says otherwise; the splits are mixed up", other.string(), no + 1, count);
    }
    add_contents(std::move(other_file), contents);
  }
  const auto total = static_cast<int64_t>(tensors().size());
  if (const int64_t expected = metadata_.int_or(kSplitTensors, total); expected != total) {
    fail("{}: its splits hold {} tensors, but {} says {}; some split is from another model", where_, total,
         kSplitTensors, expected);
  }
  for (const auto key : {kSplitNo, kSplitCount, kSplitTensors}) metadata_.erase(key);
}

GgufLayout::GgufLayout(const GgufMetadata& metadata, const std::vector<TensorInfo>& tensors, const std::string& where) {
  const uint64_t alignment = planned_alignment(metadata, where);
  HeaderBuilder builder;
  builder.bytes() = "GGUF";
  builder.number<uint32_t>(3);
  builder.number<uint64_t>(tensors.size());
  builder.number<uint64_t>(metadata.entries().size());
  for (const auto& [key, value] : metadata.entries()) {
    check_name(key, "a metadata key", where);
    builder.text(key);
    builder.value(value);
  }
  std::set<std::string_view> names;
  uint64_t data_bytes = 0;
  for (const TensorInfo& tensor : tensors) {
    check_planned(tensor, where);
    if (!names.insert(tensor.name).second) fail("{}: tensor {} is to be written twice", where, tensor.name);
    builder.text(tensor.name);
    builder.number<uint32_t>(static_cast<uint32_t>(tensor.shape.size()));
    for (auto d = tensor.shape.rbegin(); d != tensor.shape.rend(); ++d) builder.number<int64_t>(*d);
    builder.number<int32_t>(ggml_type(*tensor.encoding));
    builder.number<uint64_t>(data_bytes);
    offsets.push_back(data_bytes);
    if (__builtin_add_overflow(data_bytes, padded(checked_bytes(tensor, where), alignment), &data_bytes) ||
        data_bytes > (uint64_t{1} << 62)) {
      fail("{}: the tensors have more than 2^62 bytes", where);
    }
  }
  builder.bytes().resize(padded(builder.bytes().size(), alignment), '\0');
  header = std::move(builder.bytes());
  for (uint64_t& offset : offsets) offset += header.size();
  file_bytes = header.size() + data_bytes;
}

GgufWriter::GgufWriter(const std::filesystem::path& path, const GgufMetadata& metadata,
                       const std::vector<TensorInfo>& tensors)
    : file_(path) {
  const GgufLayout layout(metadata, tensors, path.string());
  for (size_t i = 0; i < tensors.size(); ++i) {
    slots_.add(tensors[i].name, layout.offsets[i], checked_bytes(tensors[i], path.string()));
  }
  file_bytes_ = layout.file_bytes;
  file_.reserve(file_bytes_);
  file_.write(0, std::as_bytes(std::span(layout.header)));
}

void GgufWriter::write(size_t tensor, uint64_t offset, std::span<const std::byte> bytes) {
  file_.write(slots_.place(tensor, offset, bytes.size()), bytes);
}

void GgufWriter::finish() {
  slots_.check_complete(file_.path().string());
  file_.finish();
}

}  // namespace lowbit

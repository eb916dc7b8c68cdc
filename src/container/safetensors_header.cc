#include "container/safetensors_header.h"

#include <algorithm>
#include <cstring>
#include <unordered_set>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "container/checks.h"

namespace lowbit {
namespace {

constexpr uint64_t kHeaderLimit = 100'000'000;  // that of the format's own reader
constexpr std::string_view kMetadata = "__metadata__";

struct DtypeName {
  EncodingId id;
  std::string_view name;
};
constexpr DtypeName kDtypes[] = {
    {EncodingId::F64, "F64"}, {EncodingId::F32, "F32"},   {EncodingId::F16, "F16"}, {EncodingId::BF16, "BF16"},
    {EncodingId::I64, "I64"}, {EncodingId::I32, "I32"},   {EncodingId::I16, "I16"}, {EncodingId::I8, "I8"},
    {EncodingId::U8, "U8"},   {EncodingId::Bool, "BOOL"},
};

/// JSON events of which none is expected: what derives from it says what is. Events instead of a tree, so that a bomb
/// of brackets costs no memory and a repeated key is seen.
class StrictEvents : public nlohmann::json_sax<Json> {
 public:
  explicit StrictEvents(const std::string& where) : where_(where) {}

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("true or false"); }
  bool number_integer(int64_t) override { return unexpected("a negative number"); }
  bool number_unsigned(uint64_t) override { return unexpected("a number"); }
  bool number_float(double, const std::string&) override { return unexpected("a number that is no integer"); }
  bool string(std::string&) override { return unexpected("a string"); }
  bool binary(Json::binary_t&) override { return unexpected("binary data"); }
  bool start_object(size_t) override { return unexpected("an object"); }
  bool start_array(size_t) override { return unexpected("an array"); }
  bool end_object() override { return unexpected("the end of an object"); }
  bool end_array() override { return unexpected("the end of an array"); }
  bool key(std::string&) override { return unexpected("a key"); }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    fail("{}: {} is not valid JSON at byte {}; it is truncated or corrupt, download or write it again", where_, kind(),
         position);
  }

 protected:
  virtual std::string_view kind() const = 0;
  virtual std::string place() const = 0;
  [[noreturn]] bool unexpected(std::string_view what) const {
    fail("{}: {} has {} in {}, where it cannot be; the file is corrupt", where_, kind(), what, place());
  }
  const std::string& where_;
};

/// {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ..., "__metadata__": {"key": "text"}}
class HeaderEvents : public StrictEvents {
 public:
  using StrictEvents::StrictEvents;

  std::vector<SafetensorsEntry> take_entries() { return std::move(entries_); }
  const std::vector<uint64_t>& ends() const { return ends_; }

  bool start_object(size_t) override {
    if (state_ == State::Begin) return enter(State::Names);
    if (state_ == State::Name) {
      if (name_ == kMetadata) return enter(State::Metadata);
      entries_.push_back({{name_, {}, nullptr, 0}, 0});
      seen_dtype_ = seen_shape_ = seen_offsets_ = false;
      return enter(State::Tensor);
    }
    return unexpected("an object");
  }
  bool end_object() override {
    if (state_ == State::Tensor) return end_tensor();
    if (state_ == State::Metadata) return enter(State::Names);
    if (state_ == State::Names) return enter(State::End);
    return unexpected("the end of an object");
  }
  bool key(std::string& key) override {
    switch (state_) {
      case State::Names:
        check_name(key, "a tensor", where_);
        if (!names_.insert(key).second) fail("{}: tensor {} occurs twice; the file is corrupt", where_, shown(key));
        name_ = key;
        return enter(State::Name);
      case State::Metadata:
        return enter(State::MetadataValue);
      case State::Tensor:
        if (key == "dtype" && !std::exchange(seen_dtype_, true)) return enter(State::Dtype);
        if (key == "shape" && !std::exchange(seen_shape_, true)) return enter(State::Shape);
        if (key == "data_offsets" && !std::exchange(seen_offsets_, true)) return enter(State::Offsets);
        fail("{}: {} has an unknown or repeated field \"{}\"; the file is corrupt", where_, place(), shown(key));
      default:
        return unexpected("a key");
    }
  }
  bool string(std::string& text) override {
    if (state_ == State::MetadataValue) return enter(State::Metadata);
    if (state_ != State::Dtype) return unexpected("a string");
    const auto* known =
        std::find_if(std::begin(kDtypes), std::end(kDtypes), [&](const auto& d) { return d.name == text; });
    if (known == std::end(kDtypes)) {
      fail("{}: {} has the dtype {}, which lowbit does not read; convert it to F32, F16 or BF16", where_, place(),
           shown(text));
    }
    entries_.back().info.encoding = &encoding(known->id);
    return enter(State::Tensor);
  }
  bool start_array(size_t) override {
    if (state_ == State::Shape) return enter(State::Dimensions);
    if (state_ != State::Offsets) return unexpected("an array");
    offsets_.clear();
    return enter(State::Numbers);
  }
  bool end_array() override {
    if (state_ == State::Dimensions) return enter(State::Tensor);
    if (state_ != State::Numbers || offsets_.size() != 2) return unexpected("the end of an array");
    entries_.back().offset = offsets_[0];
    ends_.push_back(offsets_[1]);
    return enter(State::Tensor);
  }
  bool number_unsigned(uint64_t value) override {
    if (state_ == State::Dimensions && std::in_range<int64_t>(value)) {
      entries_.back().info.shape.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (state_ != State::Numbers || offsets_.size() >= 2) return unexpected("a number");
    offsets_.push_back(value);
    return true;
  }

 private:
  enum class State {
    Begin,
    Names,
    Name,
    Metadata,
    MetadataValue,
    Tensor,
    Dtype,
    Shape,
    Dimensions,
    Offsets,
    Numbers,
    End
  };

  std::string_view kind() const override { return "the safetensors header"; }
  std::string place() const override { return name_.empty() ? "its beginning" : "tensor " + shown(name_); }
  bool enter(State state) {
    state_ = state;
    return true;
  }
  bool end_tensor() {
    if (!seen_dtype_ || !seen_shape_ || !seen_offsets_) {
      fail("{}: {} lacks dtype, shape or data_offsets; the file is corrupt", where_, place());
    }
    return enter(State::Names);
  }

  State state_ = State::Begin;
  std::string name_;
  std::unordered_set<std::string> names_;
  std::vector<SafetensorsEntry> entries_;
  std::vector<uint64_t> ends_, offsets_;
  bool seen_dtype_ = false, seen_shape_ = false, seen_offsets_ = false;
};

/// {"weight_map": {"tensor": "file"}, ...}; whatever else is there is passed over, to a bounded depth.
class IndexEvents : public StrictEvents {
 public:
  using StrictEvents::StrictEvents;

  std::map<std::string, std::string> take_map() { return std::move(map_); }
  bool has_map() const { return has_map_; }

  bool null() override { return value("null"); }
  bool boolean(bool) override { return value("true or false"); }
  bool number_integer(int64_t) override { return value("a number"); }
  bool number_unsigned(uint64_t) override { return value("a number"); }
  bool number_float(double, const std::string&) override { return value("a number"); }
  bool start_object(size_t) override {
    if (in_map()) return unexpected("an object");
    if (depth_ == 1 && key_ == "weight_map") has_map_ = true;
    return deeper();
  }
  bool start_array(size_t) override {
    const bool expected = depth_ > 1 ? !in_map() : depth_ == 1 && key_ != "weight_map";
    return expected ? deeper() : unexpected("an array");
  }
  bool end_object() override { return --depth_, true; }
  bool end_array() override { return --depth_, true; }
  bool key(std::string& key) override {
    if (depth_ == 1) {
      if (key == "weight_map" && has_map_) return unexpected("a second weight_map");
      key_ = key;
    }
    if (in_map()) {
      check_name(key, "a tensor", where_);
      tensor_ = key;
    }
    return true;
  }
  bool string(std::string& text) override {
    if (!in_map()) return value("a string");
    check_name(text, "a shard", where_);
    if (text.find_first_of("/\\") != std::string::npos || text.front() == '.') {
      fail("{}: tensor {} is said to be in {}, which is no file name in this folder; the index is corrupt", where_,
           shown(tensor_), shown(text));
    }
    if (!map_.emplace(tensor_, text).second)
      fail("{}: tensor {} occurs twice; the index is corrupt", where_, shown(tensor_));
    return true;
  }

 private:
  static constexpr int kMaxDepth = 16;

  std::string_view kind() const override { return "the index"; }
  std::string place() const override { return key_.empty() ? "its beginning" : shown(key_); }
  bool in_map() const { return depth_ == 2 && key_ == "weight_map"; }
  bool value(std::string_view what) const { return in_map() || depth_ == 0 ? unexpected(what) : true; }
  bool deeper() {
    if (++depth_ > kMaxDepth) fail("{}: {} is nested more than {} deep; it is corrupt", where_, kind(), kMaxDepth);
    return true;
  }

  int depth_ = 0;
  bool has_map_ = false;
  std::string key_, tensor_;
  std::map<std::string, std::string> map_;
};

/// Every byte of the data belongs to exactly one tensor; what the shape takes is what the offsets give.
void check_offsets(const std::vector<SafetensorsEntry>& entries, const std::vector<uint64_t>& ends, uint64_t data_begin,
                   uint64_t data_bytes, const std::string& where) {
  std::vector<size_t> order(entries.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::pair(entries[a].offset, ends[a]) < std::pair(entries[b].offset, ends[b]);
  });
  uint64_t expected = 0;
  for (const size_t i : order) {
    const auto& [info, begin] = entries[i];
    if (ends[i] < begin || ends[i] - begin != info.bytes) {
      fail(
          "{}: tensor {} should have {} bytes by its shape and dtype, its data_offsets are {} and {}; the file is "
          "corrupt",
          where, shown(info.name), info.bytes, begin, ends[i]);
    }
    if (ends[i] > data_bytes) {
      fail(
          "{}: truncated: tensor {} needs bytes {} to {} (exclusive) of the data, which has {} (from byte {} on); "
          "download or "
          "write it again",
          where, shown(info.name), begin, ends[i], data_bytes, data_begin);
    }
    if (begin != expected) {
      fail("{}: tensor {} begins at byte {} of the data, where the one before it ends at {}; the file is corrupt",
           where, shown(info.name), begin, expected);
    }
    expected = ends[i];
  }
  if (expected != data_bytes) {
    fail("{}: its tensors have {} bytes, but {} follow the header; the file is corrupt", where, expected, data_bytes);
  }
}

}  // namespace

std::vector<SafetensorsEntry> parse_safetensors(std::span<const std::byte> file, const std::string& where) {
  uint64_t length = 0;
  if (file.size() < sizeof(length) + 2) fail_wrong_format(file, "a safetensors file", where);
  std::memcpy(&length, file.data(), sizeof(length));
  if (file[sizeof(length)] != std::byte{'{'}) fail_wrong_format(file, "a safetensors file", where);
  const uint64_t data_begin = sizeof(length) + length;
  if (length > kHeaderLimit)
    fail("{}: its header claims {} bytes, at most {} are legal; the file is corrupt", where, length, kHeaderLimit);
  if (data_begin > file.size()) {
    fail("{}: truncated: its header needs {} bytes, the file has {}; download or write it again", where, data_begin,
         file.size());
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + sizeof(length), length);
  HeaderEvents events(where);
  Json::sax_parse(text.begin(), text.end(), &events);
  std::vector<SafetensorsEntry> entries = events.take_entries();
  for (SafetensorsEntry& entry : entries) entry.info.bytes = checked_bytes(entry.info, where);
  check_offsets(entries, events.ends(), data_begin, file.size() - data_begin, where);
  for (SafetensorsEntry& entry : entries) entry.offset += data_begin;
  return entries;
}

std::map<std::string, std::string> parse_safetensors_index(std::string_view text, const std::string& where) {
  IndexEvents events(where);
  Json::sax_parse(text.begin(), text.end(), &events);
  if (!events.has_map()) fail("{}: has no weight_map; it is no index of safetensors", where);
  return events.take_map();
}

std::string_view safetensors_dtype(const Encoding& wanted) {
  for (const auto& [id, name] : kDtypes) {
    if (id == wanted.id) return name;
  }
  return {};
}

std::string write_safetensors_header(const std::vector<TensorInfo>& tensors, const std::vector<uint64_t>& offsets) {
  // Written key by key: a tree whose objects look keys up one by one is slow with many tensors.
  std::string text = R"({"__metadata__":{"format":"pt"})";
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Json entry = {{"dtype", safetensors_dtype(*tensors[i].encoding)},
                        {"shape", tensors[i].shape},
                        {"data_offsets", {offsets[i], offsets[i] + tensors[i].bytes}}};
    text += fmt::format(",{}:{}", Json(tensors[i].name).dump(), entry.dump());
  }
  text += "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  std::string header(sizeof(length), '\0');
  std::memcpy(header.data(), &length, sizeof(length));
  return header + text;
}

}  // namespace lowbit

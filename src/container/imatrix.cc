#include "container/imatrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "container/checks.h"
#include "container/gguf.h"
#include "container/gguf_parse.h"

namespace lowbit {
namespace {

constexpr std::string_view kSums = ".in_sum2", kCounts = ".counts";

void check_entry(const std::string& weight, const ImportanceEntry& entry, const std::string& where) {
  const std::string name = shown(weight);
  if (entry.sums.empty() || entry.counts.empty() || entry.sums.size() % entry.counts.size() != 0) {
    fail("{}: {} has {} sums and {} counts, which do not match; make the importance matrix again", where, name,
         entry.sums.size(), entry.counts.size());
  }
  const auto sound = [](float x) { return std::isfinite(x) && x >= 0; };
  if (!std::all_of(entry.sums.begin(), entry.sums.end(), sound) ||
      !std::all_of(entry.counts.begin(), entry.counts.end(), sound)) {
    fail("{}: {} has negative, infinite or NaN entries; make the importance matrix again", where, name);
  }
}

std::vector<float> floats_of(const GgufTensor& tensor, std::span<const std::byte> file, const std::string& where) {
  if (tensor.info.encoding->id != EncodingId::F32) {
    fail("{}: tensor {} is {}, an importance matrix has F32", where, shown(tensor.info.name),
         tensor.info.encoding->name);
  }
  std::vector<float> values(tensor.info.bytes / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), file.data() + tensor.offset, tensor.info.bytes);
  return values;
}

uint32_t count_of(const GgufMetadata& metadata, std::string_view key) {
  const int64_t value = metadata.int_at(key);
  if (!std::in_range<uint32_t>(value))
    fail("{}: {} is {}; make the importance matrix again", metadata.where, key, value);
  return static_cast<uint32_t>(value);
}

ImportanceMatrix parse_gguf_form(std::span<const std::byte> file, const std::string& where) {
  const GgufContents contents = parse_gguf(file, where);
  if (const std::string type = contents.metadata.string_or("general.type", "model"); type != "imatrix") {
    fail("{}: is a GGUF file of type \"{}\", not an importance matrix", where, shown(type));
  }
  ImportanceMatrix matrix;
  matrix.where = where;
  matrix.datasets = contents.metadata.strings_at("imatrix.datasets");
  matrix.chunk_count = count_of(contents.metadata, "imatrix.chunk_count");
  matrix.chunk_size = count_of(contents.metadata, "imatrix.chunk_size");
  for (const GgufTensor& tensor : contents.tensors) {
    const std::string_view name = tensor.info.name;
    if (name.ends_with(kSums)) {
      matrix.entries[std::string(name.substr(0, name.size() - kSums.size()))].sums = floats_of(tensor, file, where);
    } else if (name.ends_with(kCounts)) {
      matrix.entries[std::string(name.substr(0, name.size() - kCounts.size()))].counts = floats_of(tensor, file, where);
    } else {
      fail("{}: tensor {} does not belong in an importance matrix", where, shown(name));
    }
  }
  return matrix;
}

/// The old format: i32 entries; for each i32 length, name, i32 calls, i32 values, f32[values] (means times calls);
/// then, in most files, i32 chunks, i32 length and name of the data set.
class OldFormat {
 public:
  OldFormat(std::span<const std::byte> file, const std::string& where) : file_(file), where_(where) {}

  ImportanceMatrix parse() {
    ImportanceMatrix matrix;
    matrix.where = where_;
    const uint64_t entries = count("the number of entries", 4 + 1 + 4 + 4 + sizeof(float));
    if (entries == 0) refuse("it has no entries");
    for (uint64_t i = 0; i < entries; ++i) {
      std::string name = text("a weight's name");
      check_name(name, "a weight", where_);
      ImportanceEntry entry;
      const auto calls = number("the number of calls");
      if (calls < 0) refuse("a number of calls is negative");
      entry.sums.resize(count("the number of values", sizeof(float)));
      const auto bytes = take(entry.sums.size() * sizeof(float), "the values");
      if (!bytes.empty()) std::memcpy(entry.sums.data(), bytes.data(), bytes.size());
      entry.counts = {static_cast<float>(std::max(calls, 1))};  // 0 calls: the values are the means
      if (!matrix.entries.emplace(name, std::move(entry)).second) refuse(fmt::format("{} occurs twice", shown(name)));
    }
    if (position_ < file_.size()) {
      matrix.chunk_count = static_cast<uint32_t>(std::max(number("the number of chunks"), 0));
      if (position_ < file_.size()) matrix.datasets.push_back(text("the data set's name"));
    }
    if (position_ != file_.size()) refuse("something follows its end");
    return matrix;
  }

 private:
  [[noreturn]] void refuse(std::string_view why) const {
    fail("{}: is no importance matrix, neither GGUF nor llama.cpp's old format: {}", where_, why);
  }
  std::span<const std::byte> take(uint64_t size, std::string_view what) {
    if (size > file_.size() - position_) refuse(fmt::format("it ends within {}", what));
    position_ += size;
    return file_.subspan(position_ - size, size);
  }
  int32_t number(std::string_view what) {
    int32_t value = 0;
    std::memcpy(&value, take(sizeof(value), what).data(), sizeof(value));
    return value;
  }
  /// A count of things that take at least `least` bytes each.
  uint64_t count(std::string_view what, uint64_t least) {
    const int32_t value = number(what);
    if (value < 0 || static_cast<uint64_t>(value) > (file_.size() - position_) / least) {
      refuse(fmt::format("{} is {}, the file has {} bytes", what, value, file_.size()));
    }
    return static_cast<uint64_t>(value);
  }
  std::string text(std::string_view what) {
    const auto bytes = take(count(what, 1), what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  std::span<const std::byte> file_;
  const std::string& where_;
  uint64_t position_ = 0;
};

/// Counts of chunks as counts of tokens.
ImportanceEntry scaled(ImportanceEntry entry, float factor) {
  for (float& x : entry.sums) x *= factor;
  for (float& x : entry.counts) x *= factor;
  return entry;
}

}  // namespace

std::vector<float> ImportanceEntry::mean_square() const {
  std::vector<float> means(sums.size(), 1.0f);
  const size_t columns = counts.empty() ? 0 : sums.size() / counts.size();
  for (size_t expert = 0; expert < counts.size(); ++expert) {
    if (counts[expert] == 0) continue;
    for (size_t k = expert * columns; k < (expert + 1) * columns; ++k) means[k] = sums[k] / counts[expert];
  }
  return means;
}

std::vector<float> ImportanceMatrix::find(std::string_view weight, int64_t columns) const {
  const auto found = entries.find(std::string(weight));
  if (found == entries.end()) return {};
  const ImportanceEntry& entry = found->second;
  check_entry(found->first, entry, where);
  if (columns <= 0 || entry.sums.size() / entry.counts.size() != static_cast<uint64_t>(columns)) {
    fail("{}: has {} entries for {}, which has {} columns; it was made for another model", where,
         entry.sums.size() / entry.counts.size(), shown(weight), columns);
  }
  return entry.mean_square();
}

void ImportanceMatrix::combine(const ImportanceMatrix& other) {
  if (entries.empty() && chunk_size == 0) chunk_size = other.chunk_size;
  if (chunk_size == 0 && other.chunk_size != 0) {
    for (auto& [name, entry] : entries) entry = scaled(std::move(entry), static_cast<float>(other.chunk_size));
    chunk_size = other.chunk_size;
  }
  const float factor = chunk_size != 0 && other.chunk_size == 0 ? static_cast<float>(chunk_size) : 1.0f;
  for (const auto& [name, entry] : other.entries) {
    const ImportanceEntry added = scaled(entry, factor);
    const auto [place, is_new] = entries.emplace(name, added);
    if (is_new) continue;
    ImportanceEntry& sum = place->second;
    if (sum.sums.size() != added.sums.size() || sum.counts.size() != added.counts.size()) {
      fail("{}: {} has {} entries, {} in {}; they were made for different models", other.where, shown(name),
           added.sums.size(), sum.sums.size(), where);
    }
    std::transform(sum.sums.begin(), sum.sums.end(), added.sums.begin(), sum.sums.begin(), std::plus<>());
    std::transform(sum.counts.begin(), sum.counts.end(), added.counts.begin(), sum.counts.begin(), std::plus<>());
  }
  datasets.insert(datasets.end(), other.datasets.begin(), other.datasets.end());
  if (__builtin_add_overflow(chunk_count, other.chunk_count, &chunk_count)) chunk_count = UINT32_MAX;
}

ImportanceMatrix parse_imatrix(std::span<const std::byte> file, const std::string& where) {
  const bool is_gguf = file.size() >= 4 && std::memcmp(file.data(), "GGUF", 4) == 0;
  ImportanceMatrix matrix = is_gguf ? parse_gguf_form(file, where) : OldFormat(file, where).parse();
  if (matrix.entries.empty()) fail("{}: has no entries; make the importance matrix again", where);
  for (const auto& [name, entry] : matrix.entries) check_entry(name, entry, where);
  return matrix;
}

ImportanceMatrix read_imatrix(const std::filesystem::path& path) {
  return parse_imatrix(MappedFile(path).bytes(), path.string());
}

void write_imatrix(const std::filesystem::path& path, const ImportanceMatrix& matrix) {
  GgufMetadata metadata;
  metadata.set("general.type", std::string("imatrix"));
  auto datasets = std::make_shared<GgufArray>();
  datasets->items = matrix.datasets;
  metadata.set("imatrix.datasets", std::move(datasets));
  metadata.set("imatrix.chunk_count", matrix.chunk_count);
  metadata.set("imatrix.chunk_size", matrix.chunk_size);

  std::vector<TensorInfo> plan;
  for (const auto& [name, entry] : matrix.entries) {
    check_entry(name, entry, path.string());
    const auto experts = static_cast<int64_t>(entry.counts.size());
    const auto columns = static_cast<int64_t>(entry.sums.size()) / experts;
    const Encoding* f32 = &encoding(EncodingId::F32);
    const bool one = experts == 1;  // ggml writes no leading dimension of 1
    plan.push_back({name + std::string(kSums), one ? std::vector{columns} : std::vector{experts, columns}, f32, 0});
    plan.push_back(
        {name + std::string(kCounts), one ? std::vector{experts} : std::vector{experts, int64_t{1}}, f32, 0});
  }
  GgufWriter writer(path, metadata, plan);
  size_t tensor = 0;
  for (const auto& [name, entry] : matrix.entries) {
    writer.write(tensor++, 0, std::as_bytes(std::span(entry.sums)));
    writer.write(tensor++, 0, std::as_bytes(std::span(entry.counts)));
  }
  writer.finish();
}

}  // namespace lowbit

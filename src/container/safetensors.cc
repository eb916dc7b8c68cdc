#include "container/safetensors.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "container/checks.h"
#include "container/safetensors_header.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kSingle = "model.safetensors", kIndex = "model.safetensors.index.json";

/// Says what is wrong with a folder that holds no safetensors.
[[noreturn]] void fail_no_weights(const fs::path& folder) {
  std::set<std::string> names;  // sorted, so that the message is always the same
  for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename().string());
  for (const std::string& name : names) {
    const bool pickle =
        name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth") || name.ends_with(".bin.index.json");
    if (pickle && (name.starts_with("pytorch_model") || name.starts_with("consolidated") || !name.ends_with(".bin"))) {
      fail(
          "{}: has only pickled weights ({}), which are never loaded because they can run code; convert them to "
          "safetensors: "
          "load with transformers and save_pretrained(folder, safe_serialization=True)",
          folder.string(), shown(name));
    }
  }
  for (const std::string& name : names) {
    if (name.ends_with(".gguf"))
      fail("{}: is a folder with GGUF files; give the file itself: {}", folder.string(), (folder / name).string());
  }
  fail("{}: has neither {} nor {}; is it a Hugging Face model folder, fully downloaded?", folder.string(), kSingle,
       kIndex);
}

int element_bytes(const TensorInfo& tensor) { return tensor.encoding->block_bytes; }

/// Consecutive tensors of at most `limit` bytes a shard, each tensor in one shard.
std::vector<std::vector<size_t>> plan_shards(const std::vector<TensorInfo>& tensors, uint64_t limit) {
  std::vector<std::vector<size_t>> shards(1);
  uint64_t used = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (!shards.back().empty() && (tensors[i].bytes > limit || used > limit - tensors[i].bytes)) {
      shards.emplace_back();
      used = 0;
    }
    shards.back().push_back(i);
    used += tensors[i].bytes;
  }
  // Wide elements first, as the format's own writer has it, so that every tensor is aligned to its elements.
  for (auto& shard : shards) {
    std::stable_sort(shard.begin(), shard.end(),
                     [&](size_t a, size_t b) { return element_bytes(tensors[a]) > element_bytes(tensors[b]); });
  }
  return shards;
}

void check_plan(const std::vector<TensorInfo>& tensors, const std::string& where) {
  std::set<std::string_view> names;
  uint64_t total = 0;
  for (const TensorInfo& tensor : tensors) {
    check_name(tensor.name, "a tensor", where);
    if (!names.insert(tensor.name).second) fail("{}: tensor {} is to be written twice", where, tensor.name);
    if (safetensors_dtype(*tensor.encoding).empty()) {
      fail("{}: tensor {} is {}, which safetensors cannot hold; write a .gguf file", where, tensor.name,
           tensor.encoding->name);
    }
    if (__builtin_add_overflow(total, tensor.bytes, &total) || total > (uint64_t{1} << 62)) {
      fail("{}: the tensors have more than 2^62 bytes", where);
    }
  }
}

/// Readers take model.safetensors first, so that weights left in the other layout would be mixed up with the new ones.
void refuse_other_layout(const fs::path& folder, bool sharded) {
  const fs::path other = folder / (sharded ? kSingle : kIndex);
  if (fs::exists(other)) {
    fail("{}: is left from another model; remove it and its shards, or choose another folder", other.string());
  }
}

std::string index_text(const std::vector<TensorInfo>& tensors, const std::vector<size_t>& file_of,
                       const std::vector<std::string>& file_names) {
  std::map<std::string_view, std::string_view> weight_map;
  uint64_t total = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    weight_map[tensors[i].name] = file_names[file_of[i]];
    total += tensors[i].bytes;
  }
  std::string text = fmt::format("{{\n  \"metadata\": {{\n    \"total_size\": {}\n  }},\n  \"weight_map\": {{", total);
  std::string_view separator = "\n";
  for (const auto& [name, file] : weight_map) {
    text += fmt::format("{}    {}: {}", separator, Json(name).dump(), Json(file).dump());
    separator = ",\n";
  }
  return text + "\n  }\n}\n";
}

}  // namespace

Safetensors::Safetensors(const fs::path& path) {
  where_ = path.string();
  if (!fs::is_directory(path)) {
    path.filename().string().ends_with(".index.json") ? add_shards(path) : add_single(path);
  } else if (fs::exists(path / kSingle)) {
    add_single(path / kSingle);
  } else if (fs::exists(path / kIndex)) {
    add_shards(path / kIndex);
  } else {
    fail_no_weights(path);
  }
}

void Safetensors::add_single(const fs::path& file) {
  MappedFile mapped(file);
  std::vector<SafetensorsEntry> entries = parse_safetensors(mapped.bytes(), file.string());
  const size_t number = add_file(std::move(mapped));
  for (SafetensorsEntry& entry : entries) add(std::move(entry.info), number, entry.offset);
}

void Safetensors::add_shards(const fs::path& index) {
  constexpr uint64_t kIndexLimit = 100'000'000;
  const auto weight_map = parse_safetensors_index(read_text_file(index, kIndexLimit), index.string());
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : weight_map) shards.insert(shard);
  for (const std::string& shard : shards) {
    const fs::path file = index.parent_path() / shard;
    if (!fs::exists(file)) fail("{}: is missing, though {} names it; download it too", file.string(), index.string());
    MappedFile mapped(file);
    std::vector<SafetensorsEntry> entries = parse_safetensors(mapped.bytes(), file.string());
    const size_t number = add_file(std::move(mapped));
    for (SafetensorsEntry& entry : entries) {
      const auto listed = weight_map.find(entry.info.name);
      if (listed != weight_map.end() && listed->second != shard) continue;  // the index says which copy counts
      add(std::move(entry.info), number, entry.offset);
    }
  }
  for (const auto& [tensor, shard] : weight_map) {
    if (find(tensor) == nullptr) {
      fail("{}: tensor {} should be in {}, but is not; the index and the shards are of different models",
           index.string(), shown(tensor), shown(shard));
    }
  }
}

SafetensorsWriter::SafetensorsWriter(const fs::path& folder, const std::vector<TensorInfo>& tensors,
                                     uint64_t shard_bytes)
    : folder_(folder), file_of_(tensors.size()) {
  std::vector<TensorInfo> plan = tensors;
  for (TensorInfo& tensor : plan) tensor.bytes = checked_bytes(tensor, folder.string());
  check_plan(plan, folder.string());
  const auto shards = plan_shards(plan, shard_bytes);
  std::error_code code;
  fs::create_directories(folder, code);
  if (code) fail("{}: the folder cannot be made: {}", folder.string(), code.message());
  refuse_other_layout(folder, shards.size() > 1);

  std::vector<uint64_t> places(plan.size());
  std::vector<std::string> names;
  for (size_t s = 0; s < shards.size(); ++s) {
    names.push_back(shards.size() == 1 ? std::string(kSingle)
                                       : fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, shards.size()));
    std::vector<TensorInfo> members;
    std::vector<uint64_t> offsets;
    uint64_t bytes = 0;
    for (const size_t i : shards[s]) {
      members.push_back(plan[i]);
      offsets.push_back(bytes);
      bytes += plan[i].bytes;
      file_of_[i] = s;
    }
    const std::string header = write_safetensors_header(members, offsets);
    for (size_t k = 0; k < members.size(); ++k) places[shards[s][k]] = header.size() + offsets[k];
    files_.push_back(std::make_unique<AtomicFile>(folder / names.back()));
    files_.back()->reserve(header.size() + bytes);
    files_.back()->write(0, std::as_bytes(std::span(header)));
  }
  for (size_t i = 0; i < plan.size(); ++i) slots_.add(plan[i].name, places[i], plan[i].bytes);
  if (shards.size() > 1) index_text_ = index_text(plan, file_of_, names);
}

void SafetensorsWriter::write(size_t tensor, uint64_t offset, std::span<const std::byte> bytes) {
  const uint64_t place = slots_.place(tensor, offset, bytes.size());
  files_[file_of_[tensor]]->write(place, bytes);
}

void SafetensorsWriter::finish() {
  slots_.check_complete(folder_.string());
  for (const auto& file : files_) file->finish();
  if (!index_text_.empty()) write_text_file(folder_ / kIndex, index_text_);
}

}  // namespace lowbit

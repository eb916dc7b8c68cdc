#include "model/repack_cache.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/hash.h"

namespace lowbit {
namespace {

constexpr uint64_t kAlignment = 4096;
constexpr char kMagic[8] = {'L', 'W', 'B', 'P', 'A', 'C', 'K', '1'};

struct Head {
  char magic[sizeof kMagic];
  uint64_t directory, directory_bytes;
};

std::filesystem::path resolved(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::path out = std::filesystem::canonical(path, error);
  return error ? std::filesystem::absolute(path) : out;
}

/// The files with weights, and those that say how to read them.
std::vector<std::filesystem::path> files_of(const ModelSource& source) {
  std::vector<std::filesystem::path> files = source.store->files();
  if (std::filesystem::is_directory(source.path)) {
    for (const auto& entry : std::filesystem::directory_iterator(source.path)) {
      if (entry.path().extension() == ".json") files.push_back(entry.path());
    }
  }
  std::ranges::sort(files);
  return files;
}

/// Tells a model's files as they are now, and the layout.
std::string key_of(const ModelSource& source) {
  Hash hash;
  hash.add(std::to_string(kLayoutVersion));
  for (const std::filesystem::path& file : files_of(source)) {
    hash.add(resolved(file).string());
    hash.add(std::to_string(std::filesystem::file_size(file)));
    hash.add(std::to_string(std::filesystem::last_write_time(file).time_since_epoch().count()));
  }
  return hash.hex();
}

std::string name_of(const ModelSource& source) {
  const std::filesystem::path path = resolved(source.path);
  Hash hash;
  hash.add(path.string());
  return fmt::format("{}-{}.lowbit-packed", path.filename().string(), hash.hex().substr(0, 16));
}

std::string hash_of(std::span<const std::byte> bytes) {
  Hash hash;
  hash.add(bytes);
  return hash.hex();
}

}  // namespace

RepackCache::RepackCache(const std::filesystem::path& folder, const ModelSource& source) {
  try {
    std::filesystem::create_directories(folder);
    path_ = folder / name_of(source);
    key_ = key_of(source);
    if (std::filesystem::exists(path_)) open();
    if (filled()) return;
    writer_ = std::make_unique<AtomicFile>(path_);
    end_ = kAlignment;
  } catch (const std::filesystem::filesystem_error& e) {
    note_ = fmt::format("{}: {}", one_line(e.path1().string()), e.code().message());
  } catch (const Error& e) {
    note_ = e.what();
  }
}

/// Takes up the model's file if it is whole and of the same key.
void RepackCache::open() {
  try {
    auto file = std::make_unique<MappedFile>(path_);
    const uint64_t size = file->bytes().size();
    Head head{};
    if (size >= sizeof head) file->read(0, std::as_writable_bytes(std::span(&head, 1)));
    if (std::memcmp(head.magic, kMagic, sizeof kMagic) != 0 || head.directory > size ||
        head.directory_bytes != size - head.directory) {
      fail("{}: not a whole file of packed weights", path_.string());
    }
    std::string text(head.directory_bytes, '\0');
    file->read(head.directory, std::as_writable_bytes(std::span(text)));
    Json directory = parse_json(text, path_.string());
    if (json_at<std::string>(directory, "key", path_.string()) != key_) return;  // of another state of the model
    if (!directory.contains("matrices") || !directory["matrices"].is_object()) fail("{}: no matrices", path_.string());
    matrices_ = std::move(directory["matrices"]);
    file_ = std::move(file);
  } catch (const Error& e) {
    note_ = fmt::format("{}; made anew", e.what());
  }
}

std::optional<PackedMatrix> RepackCache::find(const TensorInfo& tensor, ThreadPool& pool) {
  if (!filled()) return std::nullopt;
  const std::string where = fmt::format("{}: {}", path_.string(), tensor.name);
  try {
    const auto found = matrices_.find(tensor.name);
    if (found == matrices_.end()) fail("{}: not in the file", where);
    const Json& entry = *found;
    if (json_at<std::string>(entry, "encoding", where) != tensor.encoding->name ||
        json_at<int64_t>(entry, "rows", where) != tensor.rows() ||
        json_at<int64_t>(entry, "cols", where) != tensor.cols()) {
      fail("{}: of another type or shape", where);
    }
    const auto offset = static_cast<uint64_t>(json_at<int64_t>(entry, "offset", where));
    const auto hashes = entry.find("hashes");
    if (hashes == entry.end() || !hashes->is_array()) fail("{}: no hashes", where);
    const auto read = [&](int64_t begin, int64_t end, std::span<std::byte> out) {
      const uint64_t panel_bytes = out.size() / static_cast<uint64_t>(end - begin);
      file_->read(offset + static_cast<uint64_t>(begin) * panel_bytes, out);
      const auto piece = static_cast<size_t>(begin / panels_together(panel_bytes));
      if (piece >= hashes->size() || (*hashes)[piece] != hash_of(out)) fail("{}: damaged", where);
    };
    return read_matrix(*tensor.encoding, tensor.rows(), tensor.cols(),
                       static_cast<int>(std::clamp<int64_t>(json_at<int64_t>(entry, "shared", where), -1, 99)), read,
                       pool);
  } catch (const Error& e) {
    // The next run makes a new one: what is right of this one is still of use now.
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
    note_ = fmt::format("{}; removed", e.what());
    return std::nullopt;
  }
}

void RepackCache::keep(const TensorInfo& tensor, const PackedMatrix& matrix, ThreadPool& pool) {
  if (!writer_) return;
  const int64_t together = panels_together(matrix.view().panel_bytes);
  std::vector<std::string> hashes(static_cast<size_t>((matrix.panels() + together - 1) / together));
  try {
    pool.run(static_cast<int64_t>(hashes.size()), [&](int64_t piece, int) {
      const int64_t begin = piece * together, end = std::min(matrix.panels(), begin + together);
      const std::span<const std::byte> bytes = matrix.panel_bytes(begin, end);
      hashes[static_cast<size_t>(piece)] = hash_of(bytes);
      writer_->write(end_ + static_cast<uint64_t>(begin) * matrix.view().panel_bytes, bytes);
    });
  } catch (const Error& e) {
    note_ = fmt::format("{}; packed weights are not kept", e.what());
    writer_.reset();
    return;
  }
  matrices_[tensor.name] = {{"encoding", tensor.encoding->name}, {"rows", tensor.rows()}, {"cols", tensor.cols()},
                            {"shared", matrix.view().shared},    {"offset", end_},        {"hashes", hashes}};
  end_ = (end_ + matrix.bytes() + kAlignment - 1) / kAlignment * kAlignment;
}

void RepackCache::finish() {
  if (!writer_) return;
  try {
    const std::string directory = Json{{"key", key_}, {"matrices", matrices_}}.dump();
    Head head{{}, end_, directory.size()};
    std::memcpy(head.magic, kMagic, sizeof kMagic);
    writer_->write(end_, std::as_bytes(std::span(directory)));
    writer_->write(0, std::as_bytes(std::span(&head, 1)));
    writer_->finish();
  } catch (const Error& e) {
    note_ = fmt::format("{}; packed weights are not kept", e.what());
  }
  writer_.reset();
}

}  // namespace lowbit

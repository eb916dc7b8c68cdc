// Packed weights kept on disk, so that a model is ready once they are read.
//
// A file of the cache: "LWBPACK1", the directory's offset and length (u64 each), packed matrices from byte 4096 on,
// each at a multiple of 4096, and the directory in JSON:
//   {"key": ..., "matrices": {NAME: {"encoding", "rows", "cols", "shared", "offset", "hashes": [of each
//   panels_together()]}}}
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "base/file.h"
#include "base/json.h"
#include "kernel/packed.h"
#include "model/source.h"

namespace lowbit {

/// The packed matrices of one model. A file whose key is another (the model's files have another size or time, or the
/// layout another version) is replaced. What goes wrong with a cache costs no more than the cache: it is told by
/// note(), and weights are packed as if there were none.
class RepackCache {
 public:
  /// `folder` is made if it is not there.
  RepackCache(const std::filesystem::path& folder, const ModelSource& source);

  /// Whether matrices come from the cache; otherwise they are to be kept.
  bool filled() const { return file_ != nullptr; }
  const std::filesystem::path& path() const { return path_; }  ///< the model's file
  const std::string& note() const { return note_; }            ///< one line; empty if nothing went wrong

  /// The matrix that was made of this tensor. None if it is not there as it was written.
  std::optional<PackedMatrix> find(const TensorInfo& tensor, ThreadPool& pool);
  /// Keeps a matrix, unless filled().
  void keep(const TensorInfo& tensor, const PackedMatrix& matrix, ThreadPool& pool);
  /// After the last matrix: what was kept appears on disk.
  void finish();

 private:
  void open();

  std::filesystem::path path_;
  std::string key_, note_;
  std::unique_ptr<MappedFile> file_;
  std::unique_ptr<AtomicFile> writer_;
  Json matrices_ = Json::object();  ///< of the directory that is read or written
  uint64_t end_ = 0;                ///< of what has been written
};

}  // namespace lowbit

// Files: mapped for reading, atomic for writing.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace lowbit {

class SignalNote;

/// A file mapped read-only, whole. Pages are read on first touch and can be dropped again.
/// If the file shrinks while it is mapped (or its disk fails), touching the lost pages would raise SIGBUS: a handler
/// then writes one line that names the file and ends the process with exit code 1. read() throws an Error instead.
class MappedFile {
 public:
  /// Throws Error if the file cannot be opened or is not a regular file. An empty file maps to an empty span.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(data_), size_}; }

  /// Copies bytes [offset, offset + out.size()) with pread: unlike the mapping, it adds nothing to resident memory.
  void read(uint64_t offset, std::span<std::byte> out) const;
  /// Tells the kernel that the bytes will not be needed soon, so that a long scan does not grow the process.
  void drop(uint64_t offset, uint64_t size) const;

 private:
  std::filesystem::path path_;
  int fd_ = -1;
  void* data_ = nullptr;
  size_t size_ = 0;
  SignalNote* note_ = nullptr;
};

/// Reads a whole (small) file, which may be a pipe. Throws Error if it cannot, or if it is larger than `limit` bytes.
std::string read_text_file(const std::filesystem::path& path, uint64_t limit = uint64_t{1} << 30);

/// A file that appears under its name only when finish() returns: until then the bytes are in a temporary beside it,
/// which the destructor removes. After kill -9 the temporary is left ("NAME.lowbit-tmp") and the next run takes it
/// over; a temporary that another process is writing at the moment is an Error.
class AtomicFile {
 public:
  /// Throws Error if the folder cannot be written, if `path` is there and not a regular file, or if another process is
  /// writing it.
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  const std::filesystem::path& path() const { return path_; }

  /// Makes the file `size` bytes long, zeros, and reserves their disk space, so that a full disk is told before the
  /// work and not after it. Throws Error on a full disk.
  void reserve(uint64_t size);
  /// Writes at `offset`; may be called from several threads for disjoint ranges. Throws Error, on a full disk too.
  void write(uint64_t offset, std::span<const std::byte> bytes);
  /// fsync, rename, fsync of the folder.
  void finish();

 private:
  std::filesystem::path path_, temporary_;
  int fd_ = -1;
  SignalNote* note_ = nullptr;
  std::atomic<uint64_t> unflushed_{0};  // bytes since the last call to start_flush()
};

/// An AtomicFile of one piece.
void write_text_file(const std::filesystem::path& path, std::string_view text);

}  // namespace lowbit

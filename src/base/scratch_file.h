// Room on disk for what does not fit in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace lowbit {

/// A file without a name: nothing is left of it, however the process ends.
class ScratchFile {
 public:
  /// `size` bytes in `folder`, reserved. Throws Error if the folder cannot be written, or has no room for them.
  ScratchFile(const std::filesystem::path& folder, uint64_t size);
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  /// The offset of the next `size` bytes that nobody has taken yet.
  uint64_t take(uint64_t size);
  /// Both may be called from several threads for disjoint ranges.
  void write(uint64_t offset, std::span<const std::byte> bytes);
  void read(uint64_t offset, std::span<std::byte> out) const;

 private:
  const std::string where_;  // for errors
  int fd_ = -1;
  uint64_t taken_ = 0;
};

}  // namespace lowbit

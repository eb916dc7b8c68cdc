#include "base/scratch_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "base/file_io.h"
#include "base/signals.h"

namespace lowbit {
namespace {

/// A file that has no name, or loses it at once where the file system knows no such files. -1: not possible.
int open_nameless(const std::filesystem::path& folder) {
  const int fd = open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT)) return fd;
  std::string name = (folder / ".lowbit-XXXXXX").string();
  const InterruptsWait wait;
  const int named = mkostemp(name.data(), O_CLOEXEC);
  if (named >= 0) unlink(name.c_str());
  return named;
}

}  // namespace

ScratchFile::ScratchFile(const std::filesystem::path& folder, uint64_t size)
    : where_(folder.string() + " (a temporary file)") {
  ignore_file_size_signal();
  fd_ = open_nameless(folder);
  if (fd_ < 0) fail("{}: cannot be written: {}", where_, std::strerror(errno));
  try {
    reserve_space(fd_, where_, size);
  } catch (...) {
    close(fd_);
    throw;
  }
}

ScratchFile::~ScratchFile() { close(fd_); }

uint64_t ScratchFile::take(uint64_t size) {
  const uint64_t offset = taken_;
  taken_ += size;
  return offset;
}

void ScratchFile::write(uint64_t offset, std::span<const std::byte> bytes) { write_all(fd_, where_, offset, bytes); }

void ScratchFile::read(uint64_t offset, std::span<std::byte> out) const { read_all(fd_, where_, offset, out); }

}  // namespace lowbit

#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "base/error.h"

namespace lowbit {
namespace {

const char* reason() { return std::strerror(errno); }

void sync_folder(const std::filesystem::path& file) {
  const std::filesystem::path folder = file.has_parent_path() ? file.parent_path() : ".";
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;  // a folder that cannot be opened can still hold the renamed file
  fsync(fd);
  close(fd);
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) fail("{}: cannot be opened: {}", path.string(), reason());
  struct stat status {};
  if (fstat(fd_, &status) != 0 || !S_ISREG(status.st_mode)) {
    close(fd_);
    fail("{}: is not a regular file", path.string());
  }
  size_ = static_cast<size_t>(status.st_size);
  if (size_ == 0) return;
  data_ = mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd_, 0);
  if (data_ == MAP_FAILED) {
    const int error = errno;
    close(fd_);
    fail("{}: cannot be mapped: {}", path.string(), std::strerror(error));
  }
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(data_, size_);
  if (fd_ >= 0) close(fd_);
}

void MappedFile::read(uint64_t offset, std::span<std::byte> out) const {
  if (offset > size_ || out.size() > size_ - offset) {
    fail("{}: bytes {} to {} lie beyond its end ({}); is the file truncated?", path_.string(), offset,
         offset + out.size(), size_);
  }
  while (!out.empty()) {
    const ssize_t n = pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail("{}: cannot be read at byte {}: {}", path_.string(), offset, n == 0 ? "it was cut short" : reason());
    out = out.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
}

void MappedFile::drop(uint64_t offset, uint64_t size) const {
  const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t begin = (offset + page - 1) / page * page;
  const uint64_t end = std::min<uint64_t>(offset + size, size_) / page * page;
  if (data_ == nullptr || begin >= end) return;
  madvise(static_cast<char*>(data_) + begin, end - begin, MADV_DONTNEED);
}

std::string read_text_file(const std::filesystem::path& path, uint64_t limit) {
  std::error_code code;
  const uint64_t size = std::filesystem::is_regular_file(path, code) ? std::filesystem::file_size(path, code) : 0;
  std::ifstream in(path, std::ios::binary);
  if (!in || code) fail("{}: cannot be opened: {}", path.string(), code ? code.message() : reason());
  if (size > limit) fail("{}: is {} bytes long; at most {} are read", path.string(), size, limit);
  std::string text(size, '\0');
  in.read(text.data(), static_cast<std::streamsize>(size));
  if (static_cast<uint64_t>(in.gcount()) != size) fail("{}: cannot be read to its end", path.string());
  return text;
}

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)), temporary_(path_.string() + ".lowbit-tmp") {
  fd_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd_ < 0) fail("{}: cannot be written: {}", path_.string(), reason());
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  close(fd_);
  unlink(temporary_.c_str());
}

void AtomicFile::reserve(uint64_t size) {
  if (size == 0) return;
  const int error = posix_fallocate(fd_, 0, static_cast<off_t>(size));
  if (error == ENOSPC || error == EFBIG || error == EDQUOT) {
    fail("{}: {} bytes do not fit: {}; free some space or write elsewhere", path_.string(), size, std::strerror(error));
  }  // any other answer (a file system without the call) is no reason to stop: write() reports what matters
}

void AtomicFile::write(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail("{}: cannot be written at byte {}: {}", path_.string(), offset, n == 0 ? "no space" : reason());
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
}

void AtomicFile::finish() {
  if (fsync(fd_) != 0) fail("{}: cannot be flushed to disk: {}", path_.string(), reason());
  if (rename(temporary_.c_str(), path_.c_str()) != 0) fail("{}: cannot be put in place: {}", path_.string(), reason());
  close(std::exchange(fd_, -1));
  sync_folder(path_);
}

void write_text_file(const std::filesystem::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(0, std::as_bytes(std::span(text)));
  file.finish();
}

}  // namespace lowbit

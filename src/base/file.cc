#include "base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/file_io.h"
#include "base/signals.h"

namespace lowbit {

namespace {

constexpr uint64_t kFlushBytes = uint64_t{16} << 20;

/// Has the system begin to write what it holds of a file, so that fsync finds little left.
void start_flush(int fd) {
#if defined(__linux__)
  sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);  // a hint: errors show in fsync
#else
  static_cast<void>(fd);
#endif
}

const char* reason() { return std::strerror(errno); }

void sync_folder(const std::filesystem::path& file) {
  const std::filesystem::path folder = file.has_parent_path() ? file.parent_path() : ".";
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;  // a folder that cannot be opened can still hold the renamed file
  fsync(fd);
  close(fd);
}

bool same_file(int fd, const std::filesystem::path& path) {
  struct stat open_one {
  }, named{};
  return fstat(fd, &open_one) == 0 && stat(path.c_str(), &named) == 0 && open_one.st_ino == named.st_ino &&
         open_one.st_dev == named.st_dev;
}

/// Opens and locks `temporary`, which a killed run may have left. The lock ends with the process that holds it.
int open_temporary(const std::filesystem::path& temporary, const std::filesystem::path& path) {
  for (;;) {
    const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) fail("{}: cannot be written: {}", path.string(), reason());
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      close(fd);
      fail("{}: another process is writing it; wait for that one, or choose another name", path.string());
    }  // a file system without locks is no reason to stop
    if (same_file(fd, temporary)) return fd;
    close(fd);  // its owner renamed or removed it between our open and our lock
  }
}

}  // namespace

void ignore_file_size_signal() {
  [[maybe_unused]] static const bool done = [] {
    struct sigaction now {};
    if (sigaction(SIGXFSZ, nullptr, &now) == 0 && now.sa_handler == SIG_DFL) std::signal(SIGXFSZ, SIG_IGN);
    return true;
  }();
}

void read_all(int fd, const std::string& name, uint64_t offset, std::span<std::byte> out) {
  while (!out.empty()) {
    const ssize_t n = pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail("{}: cannot be read at byte {}: {}", name, offset, n == 0 ? "it was cut short" : reason());
    out = out.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
}

void write_all(int fd, const std::string& name, uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      fail("{}: cannot be written at byte {}: {}; free some space or write elsewhere", name, offset,
           n == 0 ? "no space" : reason());
    }
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
}

void reserve_space(int fd, const std::string& name, uint64_t size) {
  if (size == 0) return;
  // fallocate, not posix_fallocate, which on file systems without the call would write every block.
  int result = 0;
  do {
    result = fallocate(fd, 0, 0, static_cast<off_t>(size));
  } while (result != 0 && errno == EINTR);
  if (result != 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) result = ftruncate(fd, static_cast<off_t>(size));
  if (result != 0) fail("{}: {} bytes do not fit: {}; free some space or write elsewhere", name, size, reason());
}

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // opening a pipe must not wait
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
  note_ = SignalNote::mapping(data_, size_, path_.string());
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      note_(std::exchange(other.note_, nullptr)) {}

MappedFile::~MappedFile() {
  if (note_ != nullptr) note_->release();
  if (data_ != nullptr) munmap(data_, size_);
  if (fd_ >= 0) close(fd_);
}

void MappedFile::read(uint64_t offset, std::span<std::byte> out) const {
  if (offset > size_ || out.size() > size_ - offset) {
    fail("{}: bytes {} to {} lie beyond its end ({}); is the file truncated?", path_.string(), offset,
         offset + out.size(), size_);
  }
  read_all(fd_, path_.string(), offset, out);
}

void MappedFile::drop(uint64_t offset, uint64_t size) const {
  const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t begin = (offset + page - 1) / page * page;
  const uint64_t end = std::min<uint64_t>(offset + size, size_) / page * page;
  if (data_ == nullptr || begin >= end) return;
  madvise(static_cast<char*>(data_) + begin, end - begin, MADV_DONTNEED);
}

std::string read_text_file(const std::filesystem::path& path, uint64_t limit) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail("{}: cannot be opened: {}", path.string(), reason());
  std::string text;
  constexpr size_t kPiece = size_t{1} << 20;
  ssize_t n = 0;
  do {
    const size_t before = text.size();
    text.resize(before + kPiece);
    do {
      n = ::read(fd, text.data() + before, kPiece);
    } while (n < 0 && errno == EINTR);
    const int error = errno;
    text.resize(before + static_cast<size_t>(std::max<ssize_t>(n, 0)));
    if (n < 0 || text.size() > limit) close(fd);
    if (n < 0) fail("{}: cannot be read: {}", path.string(), std::strerror(error));
    if (text.size() > limit) fail("{}: is larger than {} bytes, the most that is read", path.string(), limit);
  } while (n > 0);
  close(fd);
  text.shrink_to_fit();
  return text;
}

AtomicFile::AtomicFile(std::filesystem::path path)
    : path_(std::move(path)), temporary_(path_.string() + ".lowbit-tmp") {
  std::error_code absent;
  const auto status = std::filesystem::status(path_, absent);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    fail("{}: cannot be written: it is {}; choose another name", path_.string(),
         std::filesystem::is_directory(status) ? "a folder" : "not a regular file");
  }
  ignore_file_size_signal();
  const InterruptsWait wait;
  fd_ = open_temporary(temporary_, path_);
  if (ftruncate(fd_, 0) == 0) {
    note_ = SignalNote::temporary(temporary_.string());
    return;
  }
  const int error = errno;
  close(fd_);
  fail("{}: cannot be written: {}", path_.string(), std::strerror(error));
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  unlink(temporary_.c_str());
  note_->release();
  close(fd_);
}

void AtomicFile::reserve(uint64_t size) { reserve_space(fd_, path_.string(), size); }

void AtomicFile::write(uint64_t offset, std::span<const std::byte> bytes) {
  write_all(fd_, path_.string(), offset, bytes);
  if (unflushed_.fetch_add(bytes.size()) + bytes.size() < kFlushBytes) return;
  unflushed_ = 0;
  start_flush(fd_);
}

void AtomicFile::finish() {
  if (fsync(fd_) != 0) fail("{}: cannot be flushed to disk: {}", path_.string(), reason());
  if (rename(temporary_.c_str(), path_.c_str()) != 0) fail("{}: cannot be put in place: {}", path_.string(), reason());
  note_->release();
  close(std::exchange(fd_, -1));
  sync_folder(path_);
}

void write_text_file(const std::filesystem::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(0, std::as_bytes(std::span(text)));
  file.finish();
}

}  // namespace lowbit

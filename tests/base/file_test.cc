#include "base/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/scratch_file.h"
#include "base/signals.h"
#include "error_of.h"

namespace lowbit {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

class FileTest : public ::testing::Test {
 protected:
  FileTest() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::temp_directory_path() / fmt::format("lowbit-file-{}-{}", test->name(), getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~FileTest() override { fs::remove_all(folder_); }
  fs::path path(const std::string& name) const { return folder_ / name; }
  fs::path put(const std::string& name, std::string_view text) const {
    std::ofstream(path(name), std::ios::binary) << text;
    return path(name);
  }
  size_t count_files() const { return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), {})); }

  fs::path folder_;
};

/// Runs `act` in a child process and gives its wait status. What it writes to standard error goes to `log`.
int in_child(const fs::path& log, const std::function<void()>& act) {
  const pid_t child = fork();
  if (child == 0) {
    const int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    dup2(fd, STDERR_FILENO);
    act();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

TEST_F(FileTest, MapsAndReads) {
  const MappedFile file(put("x", "hello world"));
  EXPECT_EQ(std::memcmp(file.bytes().data(), "hello world", 11), 0);
  std::string part(5, ' ');
  file.read(6, std::as_writable_bytes(std::span(part)));
  EXPECT_EQ(part, "world");
  EXPECT_THAT(error_of([&] { file.read(7, std::as_writable_bytes(std::span(part))); }), HasSubstr("beyond its end"));
  EXPECT_THAT(error_of([&] { file.read(UINT64_MAX, std::as_writable_bytes(std::span(part))); }),
              HasSubstr("beyond its end"));
  file.drop(0, 11);
  EXPECT_EQ(file.bytes()[0], std::byte{'h'});
  EXPECT_TRUE(MappedFile(put("empty", "")).bytes().empty());
}

TEST_F(FileTest, WhatCannotBeMapped) {
  EXPECT_THAT(error_of([&] { MappedFile(path("absent")); }), HasSubstr("absent: cannot be opened: No such file"));
  EXPECT_THAT(error_of([&] { MappedFile{folder_}; }), HasSubstr("not a regular file"));
  EXPECT_THAT(error_of([&] { MappedFile("/dev/null"); }), HasSubstr("not a regular file"));
  mkfifo(path("pipe").c_str(), 0600);
  EXPECT_THAT(error_of([&] { MappedFile(path("pipe")); }), HasSubstr("not a regular file"));
}

TEST_F(FileTest, AFileCutShortWhileMappedEndsInOneLine) {
  put("x", std::string(1 << 20, 'x'));
  const MappedFile other(put("other", "other"));  // the handler must find the right one
  const int status = in_child(path("log"), [&] {
    MappedFile file(path("x"));
    MappedFile moved(std::move(file));
    fs::resize_file(path("x"), 10);
    volatile std::byte sink = moved.bytes()[1 << 19];
    static_cast<void>(sink);
  });
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 1);
  const std::string log = read_text_file(path("log"));
  EXPECT_THAT(log, AllOf(HasSubstr("lowbit: error: "), HasSubstr(path("x").string() + ":"), HasSubstr("cut short")));
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1);
}

TEST_F(FileTest, AFileCutShortWhileReadIsAnError) {
  const MappedFile file(put("x", std::string(1 << 20, 'x')));
  fs::resize_file(path("x"), 10);
  std::vector<std::byte> out(100);
  EXPECT_THAT(error_of([&] { file.read(1 << 19, out); }), HasSubstr("cut short"));
}

TEST_F(FileTest, ReadsText) {
  EXPECT_EQ(read_text_file(put("x", "text")), "text");
  EXPECT_EQ(read_text_file(put("x", "")), "");
  const std::string large(5'000'000, 'x');
  EXPECT_EQ(read_text_file(put("x", large)), large);
  EXPECT_THAT(error_of([&] { read_text_file(path("x"), 4'999'999); }), HasSubstr("larger than 4999999"));
  EXPECT_EQ(read_text_file(path("x"), 5'000'000).size(), 5'000'000u);
  EXPECT_THAT(error_of([&] { read_text_file("/dev/zero", 10'000); }), HasSubstr("larger than"));
  EXPECT_THAT(error_of([&] { read_text_file(folder_); }), HasSubstr("Is a directory"));
  EXPECT_THAT(error_of([&] { read_text_file(path("absent")); }), HasSubstr("No such file"));
}

TEST_F(FileTest, AtomicFileAppearsAtTheEnd) {
  put("x", "before");
  {
    AtomicFile file(path("x"));
    file.reserve(8);
    file.write(4, bytes_of("efgh"));
    file.write(0, bytes_of("abcd"));
    EXPECT_EQ(read_text_file(path("x")), "before");
    file.finish();
  }
  EXPECT_EQ(read_text_file(path("x")), "abcdefgh");
  EXPECT_EQ(count_files(), 1u);
}

TEST_F(FileTest, AnAbandonedFileLeavesNothing) {
  { AtomicFile(path("x")).write(0, bytes_of("abcd")); }
  EXPECT_EQ(count_files(), 0u);
  put("y", "before");
  { AtomicFile(path("y")).write(0, bytes_of("abcd")); }
  EXPECT_EQ(read_text_file(path("y")), "before");
  EXPECT_EQ(count_files(), 1u);
}

TEST_F(FileTest, WhatCannotBeWritten) {
  EXPECT_THAT(error_of([&] { AtomicFile(path("absent/x")); }), HasSubstr("No such file"));
  EXPECT_THAT(error_of([&] { AtomicFile{folder_}; }), HasSubstr("it is a folder"));
  EXPECT_THAT(error_of([&] { AtomicFile("/dev/null"); }), HasSubstr("not a regular file"));
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

TEST_F(FileTest, TwoWritersOfOneNameDoNotMix) {
  AtomicFile first(path("x"));
  first.write(0, bytes_of("first"));
  EXPECT_THAT(error_of([&] { AtomicFile(path("x")); }), HasSubstr("another process is writing it"));
  first.finish();
  AtomicFile second(path("x"));  // free again
  second.write(0, bytes_of("second"));
  second.finish();
  EXPECT_EQ(read_text_file(path("x")), "second");
}

TEST_F(FileTest, ATemporaryIsNeverFollowed) {
  put("victim", "precious");
  fs::create_symlink(path("victim"), path("x.lowbit-tmp"));
  EXPECT_NE(error_of([&] { AtomicFile(path("x")); }), "");
  EXPECT_EQ(read_text_file(path("victim")), "precious");
}

TEST_F(FileTest, KilledWhileWriting) {
  const int status = in_child(path("log"), [&] {
    AtomicFile file(path("x"));
    file.reserve(1 << 20);
    file.write(0, bytes_of("half of it"));
    kill(getpid(), SIGKILL);
  });
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_FALSE(fs::exists(path("x")));
  EXPECT_TRUE(fs::exists(path("x.lowbit-tmp")));
  write_text_file(path("x"), "next run");
  EXPECT_EQ(read_text_file(path("x")), "next run") << "nothing of the killed run is left in it";
  EXPECT_FALSE(fs::exists(path("x.lowbit-tmp")));
}

TEST_F(FileTest, AnInterruptLeavesNothing) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const int status = in_child(path("log"), [&] {
      remove_temporaries_on_interrupt();
      { AtomicFile(path("before")).finish(); }
      AtomicFile first(path("x")), second(path("y"));
      first.write(0, bytes_of("half of it"));
      kill(getpid(), signal);
    });
    EXPECT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(WTERMSIG(status), signal) << "the shell should see what ended it";
    EXPECT_TRUE(fs::remove(path("before")));
    EXPECT_TRUE(fs::remove(path("log")));
    EXPECT_EQ(count_files(), 0u);
  }
}

TEST_F(FileTest, ALostMappingLeavesNothingHalfWritten) {
  put("in", std::string(1 << 20, 'x'));
  const int status = in_child(path("log"), [&] {
    const MappedFile in(path("in"));
    AtomicFile out(path("out"));
    fs::resize_file(path("in"), 10);
    out.write(0, in.bytes().subspan(0, 4096));  // in the kernel: an error of write(), no signal
    out.write(0, std::vector<std::byte>(in.bytes().begin() + (1 << 19), in.bytes().end()));
  });
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 1);
  EXPECT_EQ(count_files(), 2u) << "in and log";
}

TEST_F(FileTest, BeyondTheSizeLimitOfTheProcess) {
  const int status = in_child(path("log"), [&] {
    const rlimit limit{1 << 16, 1 << 16};
    setrlimit(RLIMIT_FSIZE, &limit);
    const std::string message = error_of([&] {
      AtomicFile file(path("x"));
      file.write(0, bytes_of(std::string(1 << 17, 'x')));
    });
    if (message.find("File too large") == std::string::npos) _exit(2);
    if (error_of([&] { AtomicFile(path("y")).reserve(1 << 17); }).empty()) _exit(3);
    if (error_of([&] { ScratchFile(folder_, 1 << 17); }).find("File too large") == std::string::npos) _exit(4);
  });
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  fs::remove(path("log"));
  EXPECT_EQ(count_files(), 0u);
}

TEST_F(FileTest, AScratchFileHoldsWhatIsPutThereAndHasNoName) {
  {
    ScratchFile file(folder_, 100000);
    EXPECT_EQ(count_files(), 0u) << "nothing to leave behind";
    EXPECT_EQ(file.take(60000), 0u);
    EXPECT_EQ(file.take(40000), 60000u);
    file.write(60000, bytes_of("second"));
    file.write(0, bytes_of("first"));
    std::string back(6, ' ');
    file.read(60000, std::as_writable_bytes(std::span(back)));
    EXPECT_EQ(back, "second");
    file.read(0, std::as_writable_bytes(std::span(back)));
    EXPECT_EQ(back, std::string("first\0", 6));
    EXPECT_THAT(error_of([&] { file.read(99998, std::as_writable_bytes(std::span(back))); }), HasSubstr("cut short"));
  }
  EXPECT_EQ(count_files(), 0u);
  EXPECT_THAT(error_of([&] { ScratchFile(path("no"), 1); }),
              AllOf(HasSubstr(path("no").string()), HasSubstr("No such")));
}

TEST_F(FileTest, AFullDisk) {
  if (mount("tmpfs", folder_.c_str(), "tmpfs", 0, "size=1m") != 0)
    GTEST_SKIP() << "a small file system needs root to mount";
  {
    EXPECT_THAT(error_of([&] { AtomicFile(path("x")).reserve(2 << 20); }),
                AllOf(HasSubstr("No space left"), HasSubstr("free some")));
    EXPECT_THAT(error_of([&] { AtomicFile(path("x")).write(0, bytes_of(std::string(2 << 20, 'x'))); }),
                AllOf(HasSubstr("No space left"), HasSubstr("free some")));
    EXPECT_THAT(error_of([&] { ScratchFile(folder_, 2 << 20); }),
                AllOf(HasSubstr("No space left"), HasSubstr("free some")));
    EXPECT_EQ(count_files(), 0u) << "the temporary is gone, and the space free again";
    AtomicFile file(path("x"));
    file.reserve(1 << 19);
    file.finish();
    EXPECT_EQ(fs::file_size(path("x")), uint64_t{1} << 19);
  }
  umount(folder_.c_str());
}

}  // namespace
}  // namespace lowbit

// What the tests of the containers share: a folder that goes away, files as strings, and Errors as messages.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "container/gguf.h"
#include "container/safetensors.h"

namespace lowbit {

/// A fresh folder for one test.
class ContainerTest : public ::testing::Test {
 protected:
  ContainerTest() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() /
              fmt::format("lowbit-{}-{}-{}", test->test_suite_name(), test->name(), getpid());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~ContainerTest() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path path(const std::string& name) const { return folder_ / name; }
  std::filesystem::path put(const std::string& name, const std::string& bytes) const {
    std::filesystem::create_directories(path(name).parent_path());
    std::ofstream(path(name), std::ios::binary) << bytes;
    return path(name);
  }
  std::string get(const std::string& name) const { return read_text_file(path(name)); }

  std::filesystem::path folder_;
};

/// The message of the Error that `act` throws; empty if it throws none. Fails the test unless the message is one line.
template <typename Act>
std::string error_of(const Act& act) {
  try {
    act();
  } catch (const Error& e) {
    EXPECT_THAT(std::string(e.what()),
                ::testing::Not(::testing::AnyOf(::testing::HasSubstr("\n"), ::testing::IsEmpty())));
    return e.what();
  }
  return {};
}

/// The bytes of a GGUF or safetensors header, number by number.
class Bytes {
 public:
  template <typename T>
  Bytes& number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    return *this;
  }
  Bytes& text(std::string_view value) {
    number<uint64_t>(value.size());
    bytes_ += value;
    return *this;
  }
  Bytes& raw(std::string_view value) {
    bytes_ += value;
    return *this;
  }
  Bytes& pad(size_t alignment) {
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment, '\0');
    return *this;
  }
  operator const std::string&() const { return bytes_; }

 private:
  std::string bytes_;
};

inline TensorInfo tensor_of(std::string name, std::vector<int64_t> shape, EncodingId id) {
  TensorInfo tensor{std::move(name), std::move(shape), &encoding(id), 0};
  tensor.bytes = tensor.encoding->bytes(static_cast<uint64_t>(tensor.elements()));
  return tensor;
}

/// Reproducible bytes, another sequence for each seed.
inline std::vector<std::byte> noise(uint64_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> bytes(size);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random() & 0xff);
  return bytes;
}

inline std::vector<std::byte> all_bytes(const TensorStore& store, const TensorInfo& tensor) {
  const auto data = store.data(tensor);
  return {data.begin(), data.end()};
}

}  // namespace lowbit

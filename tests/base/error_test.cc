#include "base/error.h"

#include <gtest/gtest.h>

namespace lowbit {
namespace {

std::string message_of(const std::string& name) {
  try {
    fail("{}: tensor {} is missing", "x.gguf", name);
  } catch (const Error& e) {
    return e.what();
  }
}

TEST(Error, IsOneShortLine) {
  EXPECT_EQ(message_of("w\xc3\xa9"), "x.gguf: tensor w\xc3\xa9 is missing");
  EXPECT_EQ(message_of("a\nb\x1b[2J\x7f"), "x.gguf: tensor a\\x0ab\\x1b[2J\\x7f is missing");
  EXPECT_LT(message_of(std::string(1'000'000, 'x')).size(), 2000u);
  EXPECT_LT(message_of(std::string(1'000'000, '\n')).size(), 2000u);
}

}  // namespace
}  // namespace lowbit

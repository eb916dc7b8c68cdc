#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "fuzz.h"
#include "text/tokenizer.h"

namespace {

// A model directory that holds nothing but tokenizer.json or tokenizer.model.
const std::filesystem::path& folder() {
  static const std::filesystem::path path = [] {
    auto made = std::filesystem::temp_directory_path() / ("lowbit-fuzz-" + std::to_string(getpid()));
    std::filesystem::create_directories(made);
    return made;
  }();
  return path;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lowbit;
  const bool json = size > 0 && data[0] == '{';
  std::filesystem::remove(folder() / (json ? "tokenizer.model" : "tokenizer.json"));
  std::ofstream(folder() / (json ? "tokenizer.json" : "tokenizer.model"), std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  return fuzz([&] {
    const Tokenizer tokenizer(read_hf_tokenizer(folder(), 0));
    const auto ids = tokenizer.encode("Hello,  w\xc3\xb6rld 123\xff<|x|>\n", true, true);
    for (const int32_t id : ids) require(id >= 0 && id < tokenizer.size());
    (void)tokenizer.decode(ids);
  });
}

#include "container/safetensors_header.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lowbit;
  return fuzz([&] {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    for (const auto& [tensor, file] : parse_safetensors_index(text, "fuzz.index.json")) {
      require(!tensor.empty() && !file.empty() && file.find('/') == std::string::npos && file.front() != '.');
    }
  });
}

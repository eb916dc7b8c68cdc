#include "container/safetensors_header.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lowbit;
  return fuzz([&] {
    uint64_t bytes = 0;
    for (const SafetensorsEntry& entry : parse_safetensors(as_file(data, size), "fuzz.safetensors")) {
      require(entry.offset <= size && entry.info.bytes <= size - entry.offset);
      require(entry.info.encoding->bytes(static_cast<uint64_t>(entry.info.elements())) == entry.info.bytes);
      bytes += entry.info.bytes;
    }
    require(bytes <= size);
  });
}

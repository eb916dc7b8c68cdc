#include "container/gguf_parse.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lowbit;
  return fuzz([&] {
    const GgufContents contents = parse_gguf(as_file(data, size), "fuzz.gguf");
    for (const GgufTensor& tensor : contents.tensors) {
      require(tensor.offset <= size && tensor.info.bytes <= size - tensor.offset);
      require(tensor.info.elements() >= 0 && tensor.info.cols() % tensor.info.encoding->block == 0);
      require(tensor.info.encoding->bytes(static_cast<uint64_t>(tensor.info.elements())) == tensor.info.bytes);
    }
    for (const auto& [key, value] : contents.metadata.entries()) require(contents.metadata.find(key) == &value);
  });
}

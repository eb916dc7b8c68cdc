#include <cmath>

#include "base/json.h"
#include "fuzz.h"
#include "model/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lowbit;
  return fuzz([&] {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const ModelConfig config = config_from_hf(parse_json(text, "config.json"), "config.json");
    require(config.heads % config.kv_heads == 0 && config.head_dim % 2 == 0 && config.layers > 0 && config.vocab > 0);
    for (const double frequency : rope_frequencies(config)) require(std::isfinite(frequency));
    GgufMetadata metadata;
    config_to_gguf(config, metadata);
    require(!config_to_hf(config).dump().empty());
  });
}

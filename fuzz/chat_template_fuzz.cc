#include "fuzz.h"
#include "text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lowbit;
  static const Json messages = {{{"role", "system"}, {"content", "Be brief."}},
                                {{"role", "user"}, {"content", "Hello"}},
                                {{"role", "assistant"}, {"content", "Hi"}}};
  ChatOptions options;
  options.bos_token = "<s>";
  options.eos_token = "</s>";
  options.now = 0;
  return fuzz(
      [&] { (void)render_chat(std::string_view(reinterpret_cast<const char*>(data), size), messages, options); });
}

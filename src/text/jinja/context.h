// What every part of the template interpreter needs: the line for messages, and limits, for templates come from
// strangers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/error.h"

namespace lowbit::jinja {

/// One rendering's bookkeeping. Each operation counts its steps and the bytes that it makes; what is nested counts its
/// depth, so that no template can take more than seconds, a quarter of a gigabyte or the whole stack.
class Context {
 public:
  int line = 1;  ///< of the template, for messages

  /// Throws Error with the line in front.
  template <typename... Args>
  [[noreturn]] void error(fmt::format_string<Args...> format, Args&&... args) const {
    fail("chat template, line {}: {}", line, fmt::format(format, std::forward<Args>(args)...));
  }

  void step(size_t n = 1) {
    if (n > kMostSteps || (steps_ += n) > kMostSteps) error("stopped after {} steps", kMostSteps);
  }
  /// Counts bytes that are only read: text compared with text.
  void read(size_t bytes) { step(bytes / 256); }
  /// Counts the search for `part` bytes in `text` bytes, which at worst compares them at every place.
  void search(size_t text, size_t part) { step(1 + text / 64 * (1 + part / 256)); }
  void charge(size_t bytes) {
    if (bytes > kMostBytes || (bytes_ += bytes) > kMostBytes) error("stopped: it makes more than {} bytes", kMostBytes);
  }

  /// Counts one level of nesting while it lives.
  class Level {
   public:
    explicit Level(Context& context) : context_(context) {
      if (++context_.depth_ > kDeepest) context_.error("is nested more than {} deep", kDeepest);
    }
    ~Level() { --context_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Context& context_;
  };

 private:
  static constexpr size_t kMostSteps = 5'000'000;
  static constexpr size_t kMostBytes = size_t{256} << 20;
  static constexpr size_t kDeepest = 300;
  size_t steps_ = 0, bytes_ = 0, depth_ = 0;
};

}  // namespace lowbit::jinja

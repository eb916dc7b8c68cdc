// What a person sees while long work runs: a bar with the time left on a terminal, a plain line now and then elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

namespace lowbit {

/// Draws on standard error, so that standard output stays clean for results. Thread-safe.
class Progress {
 public:
  /// `total` is the amount of work in any unit (bytes, tokens); `label` says what is being done.
  Progress(std::string label, uint64_t total);
  /// Ends the line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Adds finished work; `note` (a tensor's name, a running figure) is shown behind the bar.
  void add(uint64_t amount, std::string_view note = {});

  /// Nothing is drawn from now on (--quiet, tests).
  static void silence();

 private:
  void draw(bool last);

  std::string label_, note_;
  uint64_t total_, done_ = 0;
  bool terminal_;
  std::chrono::steady_clock::time_point start_, drawn_;
  std::mutex mutex_;
};

}  // namespace lowbit

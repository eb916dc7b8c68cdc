// What signal handlers must know and may do: of mapped files that lose their bytes, of half-written files to remove.
#pragma once

#include <signal.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <string>

namespace lowbit {

/// One fact for the handlers. Made once, used again, never freed: handlers walk the list at any moment, without a lock.
class SignalNote {
 public:
  /// A file mapped at [data, data + size). If its bytes cannot be read any more (SIGBUS), the process says which file
  /// it was, removes its temporaries and ends with exit code 1.
  static SignalNote* mapping(const void* data, size_t size, const std::string& path);
  /// A file that must not be left behind when a signal ends the process.
  static SignalNote* temporary(const std::string& path);
  void release();

 private:
  static SignalNote* acquire(const std::string& path);

  friend class SignalHandlers;
  SignalNote* next_ = nullptr;
  std::atomic<bool> free_ = false;
  std::atomic<bool> temporary_ = false;
  std::atomic<const char*> begin_ = nullptr, end_ = nullptr;
  std::array<char, 4096> path_{};
};

/// While one lives, interrupts wait: between a temporary's creation and its note nobody would know of it.
class InterruptsWait {
 public:
  InterruptsWait();
  ~InterruptsWait();
  InterruptsWait(const InterruptsWait&) = delete;
  InterruptsWait& operator=(const InterruptsWait&) = delete;

 private:
  sigset_t before_;
};

/// From now on an interrupt (SIGINT, SIGTERM, SIGHUP) removes half-written files before it ends the process. For
/// programs, not for libraries: it replaces the handlers of these signals.
void remove_temporaries_on_interrupt();

}  // namespace lowbit

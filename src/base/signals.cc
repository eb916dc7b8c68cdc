#include "base/signals.h"

#include <unistd.h>

#include <csignal>
#include <cstring>

namespace lowbit {
namespace {

std::atomic<SignalNote*> first_note = nullptr;

void put(const char* text) { [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, text, std::strlen(text)); }

std::atomic<int> interrupts_wait = 0;

}  // namespace

/// The handlers: nothing here may allocate, lock or throw.
class SignalHandlers {
 public:
  static void remove_temporaries() {
    for (const SignalNote* note = first_note; note != nullptr; note = note->next_) {
      if (note->temporary_) unlink(note->path_.data());
    }
  }

  static void bus_error(int, siginfo_t* info, void*) {
    const char* at = static_cast<const char*>(info->si_addr);
    for (const SignalNote* note = first_note; note != nullptr; note = note->next_) {
      if (at < note->begin_ || at >= note->end_) continue;
      put("lowbit: error: ");
      put(note->path_.data());
      put(": cannot be read any more: it was cut short or its disk failed while in use; check the file and run "
          "again\n");
      remove_temporaries();
      _exit(1);
    }
  }  // another fault: it comes again, and the default action, which SA_RESETHAND put back, ends the process

  static void interrupt(int signal) {
    // Whoever holds interrupts up is another thread, and not for long; a second is more than enough.
    const timespec moment{0, 1000000};
    for (int i = 0; i < 1000 && interrupts_wait > 0; ++i) nanosleep(&moment, nullptr);
    remove_temporaries();
    raise(signal);  // the default action, as SA_RESETHAND has put it back
  }
};

SignalNote* SignalNote::acquire(const std::string& path) {
  SignalNote* note = first_note;
  bool is_free = true;
  while (note != nullptr && !note->free_.compare_exchange_strong(is_free, false)) {
    is_free = true;
    note = note->next_;
  }
  if (note == nullptr) {
    note = new SignalNote;
    note->next_ = first_note;
    while (!first_note.compare_exchange_weak(note->next_, note)) {
    }
  }
  const size_t length = path.copy(note->path_.data(), note->path_.size() - 1);
  note->path_[length] = '\0';
  return note;
}

SignalNote* SignalNote::mapping(const void* data, size_t size, const std::string& path) {
  [[maybe_unused]] static const bool installed = [] {
    struct sigaction action {};
    action.sa_sigaction = SignalHandlers::bus_error;
    action.sa_flags = SA_SIGINFO | SA_RESETHAND;
    return sigaction(SIGBUS, &action, nullptr) == 0;
  }();
  SignalNote* note = acquire(path);
  note->end_ = static_cast<const char*>(data) + size;
  note->begin_ = static_cast<const char*>(data);
  return note;
}

SignalNote* SignalNote::temporary(const std::string& path) {
  SignalNote* note = acquire(path);
  note->temporary_ = path.size() < note->path_.size();  // a longer path was cut, and is another file's
  return note;
}

void SignalNote::release() {
  temporary_ = false;
  begin_ = nullptr;
  end_ = nullptr;
  free_ = true;
}

InterruptsWait::InterruptsWait() {
  sigset_t interrupts;
  sigemptyset(&interrupts);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&interrupts, signal);
  pthread_sigmask(SIG_BLOCK, &interrupts, &before_);
  ++interrupts_wait;
}

InterruptsWait::~InterruptsWait() {
  --interrupts_wait;
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

void remove_temporaries_on_interrupt() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction now {};
    if (sigaction(signal, nullptr, &now) == 0 && now.sa_handler == SIG_IGN) continue;  // nohup
    struct sigaction action {};
    action.sa_handler = SignalHandlers::interrupt;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    sigaction(signal, &action, nullptr);
  }
}

}  // namespace lowbit

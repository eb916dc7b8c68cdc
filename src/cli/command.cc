#include "cli/command.h"

#include <fmt/core.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <map>

#include "base/progress.h"

namespace lowbit {

CLI::App* add_command(CLI::App& app, Common& common, const std::string& name, const std::string& description,
                      const std::string& examples) {
  CLI::App* command = app.add_subcommand(name, description);
  command->add_flag("--json", common.json, "Print the result as one JSON object");
  command->add_option("-t,--threads", common.threads, "Threads; default: the processors this process may use")
      ->check(CLI::Range(1, 1024));
  command->add_option("--log-level", common.log_level, "error: no progress and no notes; info: both")
      ->check(CLI::IsMember({"error", "info"}));
  command->footer("Examples:\n" + examples);
  command->parse_complete_callback([&common] {
    if (common.quiet()) Progress::silence();
  });
  return command;
}

void print_json(const Json& result) {
  // A tensor's name or a generated text may hold any bytes: what is not UTF-8 is replaced, never thrown at the user.
  fmt::print("{}\n", result.dump(2, ' ', false, Json::error_handler_t::replace));
}

void add_cache_type(CLI::App* command, KvType& type) {
  std::map<std::string, KvType> known;
  for (const KvType fast : {KvType::F16, KvType::BF16, KvType::Q8_0}) known.emplace(name(fast), fast);
  command
      ->add_option_function<std::string>(
          "--cache-type", [&type, known](const std::string& wanted) { type = known.at(wanted); },
          "What keys and values are kept in: f16 (default), bf16, or q8_0, which takes about half the memory")
      ->check(CLI::IsMember(known));
}

uint64_t peak_memory_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

uint64_t resident_memory_bytes() {
  uint64_t size = 0, resident = 0;  // pages, of /proc/self/statm
  std::ifstream("/proc/self/statm") >> size >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace lowbit

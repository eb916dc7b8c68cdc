// lowbit methods: which scheme goes with which rounding and transform, told by the code that decides it.
#include <fmt/core.h>

#include <string>
#include <vector>

#include "base/json.h"
#include "cli/command.h"
#include "quantize/assign/gptq_groups.h"
#include "quantize/mixture.h"
#include "quantize/scheme.h"
#include "quantize/transform/search.h"

namespace lowbit {
namespace {

struct Method {
  std::string scheme, container;
  std::string rounding, transform;  ///< that the name stands for
  std::string gptq;                 ///< what --rounding gptq does
  std::string transforms;           ///< what --transform awq or smoothquant does
  std::string odd_rows;             ///< what becomes of rows that the format cannot hold; empty: it holds all
};

// Columns of matrices that every format holds, and of those that some do not.
constexpr int64_t kEvenCols = 1024, kOddCols = 1000, kRows = 64;

Method gguf_method(const Mixture& mixture) {
  const Encoding& base = encoding(mixture.base);
  const bool rounds = base.kind == EncodingKind::Block;
  Method out{std::string(mixture.name), "GGUF", "weighted", "none", "yes", "all", ""};
  if (!rounds) {
    out.rounding = "none";
    out.gptq = "nothing to do: no matrix is rounded";
    out.transforms = "folded, though nothing is rounded";
  } else if (kOddCols % base.block != 0) {
    out.odd_rows = fmt::format("no multiple of {}: a neighbouring type, told", base.block);
  }
  return out;
}

Method directory_method(std::string_view name) {
  const GroupScheme scheme = *find_group_scheme(name, EncodingId::BF16);
  Method out{scheme.name,
             "safetensors",
             scheme.method == "gptq" ? "gptq" : "weighted",
             std::string(transform_name(scheme.transform)),
             "yes",
             "all",
             ""};
  if (!has_gptq_grid(scheme.format, kEvenCols)) {
    out.gptq = "nearest codes, told: its levels do not ascend";
  } else if (!has_gptq_grid(scheme.format, kOddCols)) {
    out.gptq = "yes; where blocks straddle rows nearest codes, told";
  }
  const std::string refusal = scheme.dialect->refusal(scheme.format, kRows, kOddCols);
  if (!refusal.empty()) out.odd_rows = refusal + ": kept dense, told";
  return out;
}

std::vector<Method> methods() {
  std::vector<Method> out;
  for (const Mixture& mixture : mixtures()) out.push_back(gguf_method(mixture));
  for (const SchemeForm& form : group_scheme_forms()) {
    std::string_view rest = form.form;  // "nf4, nf4-dq"
    while (!rest.empty()) {
      const size_t comma = std::min(rest.find(','), rest.size());
      out.push_back(directory_method(rest.substr(0, comma)));
      rest.remove_prefix(std::min(rest.size(), comma + 2));
    }
  }
  return out;
}

void print_methods(const Common& common) {
  if (common.json) {
    Json list = Json::array();
    for (const Method& m : methods()) {
      list.push_back({{"scheme", m.scheme},
                      {"container", m.container},
                      {"rounding", m.rounding},
                      {"transform", m.transform},
                      {"gptq", m.gptq},
                      {"transforms", m.transforms},
                      {"odd_rows", m.odd_rows}});
    }
    return print_json({{"methods", list}});
  }
  fmt::print(
      "| scheme | container | stands for | `--rounding gptq` | `--transform awq`, `smoothquant` | rows it cannot hold "
      "|\n"
      "|---|---|---|---|---|---|\n");
  for (const Method& m : methods()) {
    const std::string stands = m.transform == "none" ? m.rounding : m.rounding + ", " + m.transform;
    fmt::print("| {} | {} | {} | {} | {} | {} |\n", m.scheme, m.container, stands, m.gptq, m.transforms, m.odd_rows);
  }
}

}  // namespace

void add_methods(CLI::App& app, Common& common) {
  CLI::App* command = add_command(app, common, "methods", "List which scheme goes with which rounding and transform",
                                  "  lowbit methods           # a table in Markdown\n"
                                  "  lowbit methods --json");
  command->callback([&common] { print_methods(common); });
}

}  // namespace lowbit

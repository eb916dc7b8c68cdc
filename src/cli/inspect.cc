// lowbit inspect: what a model file holds.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <map>

#include "cli/command.h"
#include "model/source.h"

namespace lowbit {
namespace {

constexpr size_t kShownItems = 6;

/// A metadata value as JSON; long arrays are cut unless `whole`.
Json to_json(const GgufValue& value, bool whole) {
  return std::visit(
      [&](const auto& v) -> Json {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::shared_ptr<GgufArray>>) {
          return std::visit(
              [&](const auto& items) {
                Json out = Json::array();
                for (size_t i = 0; i < items.size() && (whole || i < kShownItems); ++i) {
                  if constexpr (std::is_same_v<std::decay_t<decltype(items)>,
                                               std::vector<std::shared_ptr<GgufArray>>>) {
                    out.push_back(to_json(GgufValue(items[i]), whole));
                  } else {
                    out.push_back(static_cast<typename std::decay_t<decltype(items)>::value_type>(items[i]));
                  }
                }
                if (out.size() < items.size()) out.push_back(fmt::format("... {} in all", items.size()));
                return out;
              },
              v->items);
        } else {
          return Json(v);
        }
      },
      value);
}

Json metadata(const ModelSource& source) {
  if (!source.is_gguf) return source.hf_config;
  Json out = Json::object();
  for (const auto& [key, value] : source.gguf->entries()) out[key] = to_json(value, false);
  return out;
}

/// As the file has it.
std::string_view encoding_text(const TensorInfo& tensor) {
  return tensor.stored ? std::string_view(tensor.stored->format) : tensor.encoding->name;
}

struct Totals {
  int64_t parameters = 0;
  uint64_t bytes = 0;
  std::map<std::string_view, std::pair<int64_t, uint64_t>> encodings;  // name -> parameters, bytes
};

Totals total(const TensorStore& store) {
  Totals t;
  for (const TensorInfo& tensor : store.tensors()) {
    t.parameters += tensor.elements();
    t.bytes += tensor.file_bytes();
    auto& [parameters, bytes] = t.encodings[encoding_text(tensor)];
    parameters += tensor.elements();
    bytes += tensor.file_bytes();
  }
  return t;
}

std::string shape_text(const TensorInfo& tensor) { return fmt::format("[{}]", fmt::join(tensor.shape, ", ")); }

void print_text(const ModelSource& source, const Totals& t, double bits, bool all) {
  fmt::print(
      "{}\n  architecture     {}\n  parameters       {:.2f} M\n  tensor bytes     {}\n  bits per weight  {:.3f}\n",
      source.path.string(), source.config.architecture->gguf_name, static_cast<double>(t.parameters) / 1e6,
      human_bytes(t.bytes), bits);
  fmt::print("\n{:<36} {:>14} {:>12} {:>7}\n", "encoding", "parameters", "bytes", "share");
  for (const auto& [name, sums] : t.encodings) {
    fmt::print("{:<36} {:>14} {:>12} {:>6.1f}%\n", name, sums.first, human_bytes(sums.second),
               100.0 * static_cast<double>(sums.second) / static_cast<double>(t.bytes));
  }
  fmt::print("\n");
  const Json described = metadata(source);
  for (const auto& [key, value] : described.items()) {
    std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (text.size() > 100 && !all) text = text.substr(0, 97) + "...";
    fmt::print("  {} = {}\n", key, text);
  }
  fmt::print("\n");
  for (const TensorInfo& tensor : source.store->tensors()) {
    fmt::print("  {:<48} {:<18} {:<6} {:>12}\n", tensor.name, shape_text(tensor), encoding_text(tensor),
               human_bytes(tensor.file_bytes()));
  }
}

void inspect(const Common& common, const std::string& model, bool all) {
  const ModelSource source = open_model(model);
  const Totals t = total(*source.store);
  const double bits = 8.0 * static_cast<double>(t.bytes) / static_cast<double>(t.parameters);
  if (!common.json) return print_text(source, t, bits, all);
  Json tensors = Json::array();
  for (const TensorInfo& tensor : source.store->tensors()) {
    tensors.push_back({{"name", tensor.name},
                       {"shape", tensor.shape},
                       {"encoding", encoding_text(tensor)},
                       {"bytes", tensor.file_bytes()}});
  }
  print_json({{"architecture", source.config.architecture->gguf_name},
              {"parameters", t.parameters},
              {"bytes", t.bytes},
              {"bits_per_weight", bits},
              {"metadata", metadata(source)},
              {"tensors", tensors}});
}

}  // namespace

void add_inspect(CLI::App& app, Common& common) {
  auto model = std::make_shared<std::string>();
  auto all = std::make_shared<bool>(false);
  CLI::App* command = add_command(app, common, "inspect", "Show metadata, tensors and true bits per weight",
                                  "  lowbit inspect llama-7b-q4_k_m.gguf\n  lowbit inspect ./llama-7b --json");
  command->add_option("model", *model, "Hugging Face directory or GGUF file")->required();
  command->add_flag("--all", *all, "Do not shorten long values");
  command->callback([&common, model, all] { inspect(common, *model, *all); });
}

}  // namespace lowbit

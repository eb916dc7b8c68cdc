// lowbit convert: the same numbers in another container.
#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "base/error.h"
#include "cli/command.h"
#include "model/metadata.h"
#include "quantize/export_hf.h"
#include "quantize/pipeline.h"
#include "quantize/repack.h"

namespace lowbit {
namespace {

struct Options {
  std::string in, out, type = "auto";
};

/// The float type that most of the model's weights already have, so that nothing is lost.
std::string own_type(const ModelSource& source) {
  std::map<EncodingId, int64_t> counts;
  for (const TensorInfo& tensor : source.store->tensors()) {
    if (tensor.encoding->kind == EncodingKind::Float && tensor.stored == nullptr && tensor.shape.size() > 1)
      counts[tensor.encoding->id] += tensor.elements();
  }
  if (counts.empty()) return "F16";
  const auto most =
      std::max_element(counts.begin(), counts.end(), [](auto& a, auto& b) { return a.second < b.second; });
  return std::string(encoding(most->first).name);
}

uint64_t to_gguf(const Common& common, const Options& options, const ModelSource& source,
                 std::vector<RepackedTensor>& repacked) {
  if (source.is_gguf) fail("{}: is a GGUF file already; lowbit quantize changes its type", options.in);
  PlanOptions plan_options;
  plan_options.mixture = find_mixture(options.type == "auto" ? own_type(source) : options.type);
  plan_options.allow_requantize = true;  // to floats, or to the same numbers
  Plan plan = make_plan(source, plan_options);
  ThreadPool pool(common.threads);
  if (options.type == "auto") repacked = plan_repack(source, plan, pool);
  return write_gguf(plan, source, gguf_metadata(source), options.out, pool);
}

Json repacked_json(const std::vector<RepackedTensor>& tensors) {
  Json out = Json::array();
  for (const RepackedTensor& t : tensors) {
    out.push_back({{"name", t.name}, {"from", t.from}, {"encoding", t.encoding->name}, {"exact", t.exact}});
  }
  return out;
}

void print_repacked(const std::vector<RepackedTensor>& tensors) {
  size_t exact = 0;
  for (const RepackedTensor& t : tensors) {
    exact += t.exact;
    fmt::print("{:<36} {} -> {:<5} {}\n", t.name, t.from, t.encoding->name, t.exact ? "exact" : "rounded");
  }
  if (!tensors.empty()) fmt::print("{} of {} quantized matrices exact\n", exact, tensors.size());
}

void convert(const Common& common, const Options& options) {
  const ModelSource source = open_model(options.in);
  const bool gguf = options.out.ends_with(".gguf");
  std::string type = options.type;
  if (type == "auto") type = gguf ? own_type(source) : "";
  uint64_t bytes = 0;
  std::vector<RepackedTensor> repacked;
  if (gguf) {
    bytes = to_gguf(common, options, source, repacked);
  } else {
    ThreadPool pool(common.threads);
    bytes = export_hf(source, options.out, options.type == "auto" ? nullptr : find_encoding(options.type), pool);
  }
  if (common.json) {
    Json out = {{"bytes", bytes}, {"peak_memory_bytes", peak_memory_bytes()}};
    if (!repacked.empty()) out["tensors"] = repacked_json(repacked);
    return print_json(out);
  }
  print_repacked(repacked);
  if (!repacked.empty()) type.clear();
  fmt::print("{}: {}{}\n", options.out, human_bytes(bytes), type.empty() ? "" : ", " + type);
}

}  // namespace

void add_convert(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      add_command(app, common, "convert", "Change the container, not the numbers",
                  "  lowbit convert ./llama-7b llama-7b.gguf             # Hugging Face directory to GGUF\n"
                  "  lowbit convert ./llama-7b llama-7b-f16.gguf --type F16\n"
                  "  lowbit convert llama-7b-q4_k_m.gguf ./llama-7b-hf   # and back");
  command->add_option("in", options->in, "Hugging Face directory or GGUF file")->required();
  command->add_option("out", options->out, "NAME.gguf, or a directory to make")->required();
  command->add_option("--type", options->type, "auto (the original's own: nothing is lost), F32, F16 or BF16")
      ->check(CLI::IsMember({"auto", "F32", "F16", "BF16"}, CLI::ignore_case));
  command->callback([&common, options] { convert(common, *options); });
}

}  // namespace lowbit

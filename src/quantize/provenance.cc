#include "quantize/provenance.h"

#include "quantize/fingerprint.h"
#include "quantize/transform/search.h"

namespace lowbit {
namespace {

void add_calibrated(const LayerwiseOptions& o, const CalibrationTokens& calibration, Json& out) {
  out["rounding"] = o.gptq ? "gptq" : "weighted";
  out["transform"] = transform_name(o.transform.kind);
  out["calibration"] = calibration.description;
  out["calibration_hash"] = calibration.hash;
  out["samples"] = calibration.samples();
  out["length"] = calibration.length;
  if (o.gptq) {
    out["damping"] = o.damping;
    out["alpha"] = o.alpha;
    out["beta"] = o.beta;
    out["sweeps"] = o.sweeps;
    out["order"] = column_order_name(o.order);
  }
  if (o.transform.kind == Transform::SmoothQuant) out["migration"] = o.transform.migration;
}

std::string model_name(const ModelSource& source) {
  const std::filesystem::path path = std::filesystem::absolute(source.path).lexically_normal();
  return (path.has_filename() ? path.filename() : path.parent_path().filename()).string();
}

}  // namespace

Json to_json(const Provenance& p, const ModelSource& source) {
  Json out = {{"version", p.version},
              {"source", model_name(source)},
              {"source_hash", fingerprint(*source.store)},
              {"scheme", p.scheme}};
  if (!p.search.empty()) out["search"] = p.search;
  if (p.layerwise) add_calibrated(*p.layerwise, *p.calibration, out);
  if (p.importance != nullptr) {
    out["importance"] = p.importance->datasets;
    out["importance_chunks"] = p.importance->chunk_count;
  }
  if (p.random_tokens) out[p.importance != nullptr ? "importance_elsewhere" : "importance"] = "random tokens";
  return out;
}

Json read_provenance(const ModelSource& model) {
  if (!model.is_gguf) return model.hf_config.value(kProvenanceMember, Json());
  const std::string text = model.gguf->string_or(kProvenanceKey, "");
  return text.empty() ? Json() : parse_json(text, model.path.string());
}

}  // namespace lowbit

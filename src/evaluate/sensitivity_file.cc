// Sensitivities as a file, and what they depend on.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "evaluate/sensitivity.h"
#include "quantize/fingerprint.h"

namespace lowbit {
namespace {

constexpr std::string_view kFormat = "lowbit sensitivity 1";

double figure(const Json& object, const std::string& key, const std::string& where) {
  const auto value = json_at<double>(object, key, where);
  if (!std::isfinite(value) || value < 0) fail("{}: {} is {}; measure anew", where, key, value);
  return value;
}

}  // namespace

std::vector<const Encoding*> candidates_for(const std::vector<const Encoding*>& candidates, int64_t cols) {
  std::vector<const Encoding*> out;
  for (const Encoding* e : candidates) {
    if (cols % e->block == 0) out.push_back(e);
  }
  if (!out.empty()) return out;
  for (const Encoding* e : candidates) {
    const Encoding* instead = &encoding(fallback_encoding(e->id, cols));
    if (std::ranges::find(out, instead) == out.end()) out.push_back(instead);
  }
  return out;
}

std::string sensitivity_key(const SensitivityRequest& request) {
  Hash hash;
  hash.add(fingerprint(*request.source.store));
  hash.add(std::as_bytes(std::span(request.text.probes)));
  hash.add(std::as_bytes(std::span(request.text.inputs)));
  hash.add(std::string_view(request.gptq ? "gptq" : "nearest"));
  for (const PlannedTensor& t : request.plan.tensors) {
    if (!is_matrix(t.tensor.id)) continue;
    hash.add(std::string_view(t.tensor.name));
    hash.add(std::string_view(t.layerwise ? "layerwise" : "streamed"));
    for (const Encoding* e : candidates_for(request.candidates, t.tensor.cols())) hash.add(e->name);
    hash.add(std::as_bytes(std::span(t.importance)));
  }
  return "xxh3:" + hash.hex();
}

void write_sensitivity(const std::filesystem::path& path, const Sensitivity& sensitivity) {
  Json matrices = Json::array();
  for (const MatrixSensitivity& m : sensitivity.matrices) {
    Json errors = Json::object();
    for (const auto& [e, error] : m.errors) errors[std::string(e->name)] = error;
    matrices.push_back({{"tensor", m.tensor}, {"gain", m.gain}, {"errors", errors}});
  }
  const Json out = {{"format", kFormat}, {"measured_on", sensitivity.measured_on}, {"matrices", matrices}};
  write_text_file(path, out.dump(1) + "\n");
}

Sensitivity read_sensitivity(const std::filesystem::path& path, const std::string& key) {
  const std::string where = path.string();
  const Json in = parse_json(read_text_file(path), where);
  if (!in.is_object() || json_or<std::string>(in, "format", "", where) != kFormat || !in.contains("matrices") ||
      !in["matrices"].is_array()) {
    fail("{}: is no file of sensitivities", where);
  }
  Sensitivity out;
  out.measured_on = json_at<std::string>(in, "measured_on", where);
  if (out.measured_on != key) {
    fail("{}: was measured on another model, text, importance or list of types; remove it to measure anew", where);
  }
  for (const Json& m : in["matrices"]) {
    MatrixSensitivity& matrix = out.matrices.emplace_back();
    matrix.tensor = json_at<std::string>(m, "tensor", where);
    matrix.gain = figure(m, "gain", where);
    if (!m.contains("errors") || !m["errors"].is_object()) fail("{}: {} has no errors", where, matrix.tensor);
    for (const auto& [name, error] : m["errors"].items()) {
      const Encoding* e = find_encoding(name);
      if (e == nullptr) fail("{}: {} is no type", where, name);
      matrix.errors.emplace_back(e, figure(m["errors"], name, where));
    }
  }
  return out;
}

}  // namespace lowbit

#include "quantize/recipe.h"

#include "base/error.h"
#include "base/file.h"
#include "quantize/plan.h"

namespace lowbit {
namespace {

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r");
  return begin == std::string_view::npos ? "" : text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

}  // namespace

Recipe parse_recipe(std::string_view text, const std::string& where) {
  Recipe out;
  out.where = where;
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.front() == '#') continue;
    const size_t equals = line.rfind('=');
    if (equals == std::string_view::npos) {
      fail("{}:{}: should read TENSOR=TYPE, such as blk.0.attn_q.weight=Q4_K", where, number);
    }
    const std::string tensor(trimmed(line.substr(0, equals)));
    const std::string_view type = trimmed(line.substr(equals + 1));
    const Encoding* found = find_file_encoding(type);
    if (found == nullptr) {
      fail("{}:{}: {} is no type of a GGUF tensor that lowbit writes", where, number, type);
    }
    if (!out.types.emplace(tensor, found).second) fail("{}:{}: {} is there twice", where, number, tensor);
  }
  return out;
}

Recipe read_recipe(const std::filesystem::path& path) {
  constexpr uint64_t kLimit = uint64_t{1} << 26;
  return parse_recipe(read_text_file(path, kLimit), path.string());
}

std::string recipe_text(const Plan& plan) {
  std::string out;
  for (const PlannedTensor& t : plan.tensors) {
    if (is_matrix(t.tensor.id)) out += fmt::format("{}={}\n", t.tensor.name, t.encoding->name);
  }
  return out;
}

}  // namespace lowbit

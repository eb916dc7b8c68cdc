// Schemes that make a Hugging Face directory: their names are a small grammar, and each stands for a grouped format,
// how its parameters are found, and the dialect that holds it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "container/dialects/dialect.h"
#include "quantize/assign/column_order.h"
#include "quantize/search/group.h"
#include "quantize/transform/search.h"

namespace lowbit {

struct GroupScheme {
  std::string name;    ///< as the user wrote it, in lower case
  std::string method;  ///< its first part: "gptq", "awq", "rtn", "nf4", "hqq", "smoothquant" ...
  GroupFormat format;
  /// Least squares unless the scheme is a published rule itself (rtn): measured, it loses least for every format.
  GroupSearch search = GroupSearch::Squares;
  Transform transform = Transform::None;  ///< that the method is known for
  bool second_version = false;            ///< of GPTQ's format
  bool integer_activations = false;       ///< 8-bit activations, a scale a token
  bool static_activations = false;        ///< 8-bit activations, on one scale found on calibration text
  std::optional<GptqOptions> gptq;        ///< what the dialect was made from, if it is GPTQ's
  std::unique_ptr<Dialect> dialect;
};

/// The scheme of a name, in any letter case; nothing if it is none. `type`: what the model's floats are (F32, F16,
/// BF16), which some dialects store scales in. Throws Error for names of the right form with numbers that cannot be.
std::optional<GroupScheme> find_group_scheme(std::string_view name, EncodingId type);

/// Makes the scheme's config tell how GPTQ rounds, where its files have words for it. Throws Error for an order that
/// they cannot hold.
void note_gptq(GroupScheme& scheme, ColumnOrder order, double damping);

/// squares, absmax, minmax, range or hqq. Throws Error for another.
GroupSearch group_search_named(std::string_view name);

/// The grammar for people: a form and what it is good for, one a line.
struct SchemeForm {
  std::string_view form, advice;
};
const std::vector<SchemeForm>& group_scheme_forms();

}  // namespace lowbit

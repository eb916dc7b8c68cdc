#include "quantize/assign/column_order.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/error.h"

namespace lowbit {
namespace {

constexpr std::pair<std::string_view, ColumnOrder> kNames[] = {{"stored", ColumnOrder::Stored},
                                                               {"group-aware", ColumnOrder::GroupAware},
                                                               {"static", ColumnOrder::Static},
                                                               {"act", ColumnOrder::Activation}};

}  // namespace

ColumnOrder column_order_named(std::string_view name) {
  for (const auto& [known, order] : kNames) {
    if (known == name) return order;
  }
  fail("--order {}: is no order; known are stored, group-aware, static, act", name);
}

std::string_view column_order_name(ColumnOrder order) {
  for (const auto& [name, known] : kNames) {
    if (known == order) return name;
  }
  return "";
}

ColumnRanks rank_columns(ColumnOrder order, const std::vector<float>& importance, int64_t block) {
  const auto cols = static_cast<int64_t>(importance.size());
  ColumnRanks out;
  if (order == ColumnOrder::Stored) return out;
  out.unit = std::min(block, cols);
  out.groups_follow = order == ColumnOrder::Activation;
  if (order == ColumnOrder::Static) out.unit = cols;
  out.columns.resize(importance.size());
  std::iota(out.columns.begin(), out.columns.end(), 0);
  std::vector<float> unit_importance;  // the greatest of each unit
  if (order == ColumnOrder::GroupAware) {
    for (int64_t begin = 0; begin < cols; begin += out.unit) {
      const auto first = importance.begin() + begin;
      unit_importance.push_back(*std::max_element(first, first + std::min(out.unit, cols - begin)));
    }
  }
  std::sort(out.columns.begin(), out.columns.end(), [&](int32_t a, int32_t b) {
    if (order == ColumnOrder::GroupAware) {
      const auto unit_a = static_cast<size_t>(a / out.unit), unit_b = static_cast<size_t>(b / out.unit);
      if (unit_importance[unit_a] != unit_importance[unit_b]) return unit_importance[unit_a] > unit_importance[unit_b];
      if (unit_a != unit_b) return unit_a < unit_b;
    }
    const float x = importance[static_cast<size_t>(a)], y = importance[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  });
  return out;
}

}  // namespace lowbit

#include "quantize/allocate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace lowbit {
namespace {

/// A choice as the solver sees it: the sum of `cost` is limited, the sum of `value` is to be small.
struct Item {
  double cost, value;
  size_t index;  ///< in the tensor's choices
};

/// One tensor's choice changed.
struct Move {
  size_t tensor, to;
  double cost, value;  ///< what is added
};

/// The corners of the lower convex hull, from the least cost to the least value.
std::vector<Item> lower_hull(std::vector<Item> items) {
  std::ranges::sort(items, [](const Item& a, const Item& b) {
    return a.cost != b.cost ? a.cost < b.cost : a.value != b.value ? a.value < b.value : a.index < b.index;
  });
  std::vector<Item> hull;
  for (const Item& item : items) {
    if (!hull.empty() && item.value >= hull.back().value) continue;
    const auto above = [&](const Item& a, const Item& b) {  // b lies on or above the line from a to item
      return (b.value - a.value) * (item.cost - a.cost) >= (item.value - a.value) * (b.cost - a.cost);
    };
    while (hull.size() > 1 && above(hull[hull.size() - 2], hull.back())) hull.pop_back();
    hull.push_back(item);
  }
  return hull;
}

class Solver {
 public:
  Solver(std::vector<std::vector<Item>> tensors, double limit) : tensors_(std::move(tensors)), limit_(limit) {}

  std::optional<std::vector<size_t>> run() {
    for (const std::vector<Item>& items : tensors_) hulls_.push_back(lower_hull(items));
    for (const std::vector<Item>& hull : hulls_) chosen_.push_back(hull.front().index);
    if (cost() > limit_) return std::nullopt;
    climb();
    while (exchange()) {
    }
    return chosen_;
  }

 private:
  double cost() const {
    double sum = 0;
    for (size_t t = 0; t < tensors_.size(); ++t) sum += tensors_[t][chosen_[t]].cost;
    return sum;
  }

  /// Steps of all hulls, the most value for their cost first, as far as they fit.
  void climb() {
    struct Step {
      double slope;
      size_t tensor, to;
    };
    std::vector<Step> steps;
    for (size_t t = 0; t < hulls_.size(); ++t) {
      for (size_t i = 1; i < hulls_[t].size(); ++i) {
        const Item &from = hulls_[t][i - 1], &to = hulls_[t][i];
        steps.push_back({(to.value - from.value) / (to.cost - from.cost), t, i});
      }
    }
    std::ranges::stable_sort(steps, {}, &Step::slope);
    std::vector<size_t> at(hulls_.size());
    double left = limit_ - cost();
    for (const Step& step : steps) {
      if (at[step.tensor] + 1 != step.to) continue;  // an earlier step of this tensor did not fit
      const std::vector<Item>& hull = hulls_[step.tensor];
      const double more = hull[step.to].cost - hull[step.to - 1].cost;
      if (more > left) continue;
      left -= more;
      at[step.tensor] = step.to;
      chosen_[step.tensor] = hull[step.to].index;
    }
  }

  /// The best change of one or two tensors; false if none is better than what there is.
  bool exchange() {
    std::vector<Move> moves;
    for (size_t t = 0; t < tensors_.size(); ++t) {
      const Item& now = tensors_[t][chosen_[t]];
      for (const Item& item : tensors_[t]) {
        if (item.index == now.index || (item.cost >= now.cost && item.value >= now.value)) continue;
        moves.push_back({t, item.index, item.cost - now.cost, item.value - now.value});
      }
    }
    moves.push_back({tensors_.size(), 0, 0, 0});  // nothing: the partner of a change on its own
    std::ranges::stable_sort(moves, {}, &Move::cost);
    // For each length of the cheapest moves, the best of them, and the best of another tensor than that one's.
    struct Best {
      size_t first, second;
    };
    constexpr size_t kNone = std::numeric_limits<size_t>::max();
    std::vector<Best> best(moves.size());
    for (size_t i = 0; i < moves.size(); ++i) {
      Best b = i == 0 ? Best{kNone, kNone} : best[i - 1];
      if (b.first == kNone || moves[i].value < moves[b.first].value) {
        if (b.first != kNone && moves[b.first].tensor != moves[i].tensor) b.second = b.first;
        b.first = i;
      } else if (moves[i].tensor != moves[b.first].tensor &&
                 (b.second == kNone || moves[i].value < moves[b.second].value)) {
        b.second = i;
      }
      best[i] = b;
    }
    // What is gained must outweigh the rounding of the sums, or two states could take turns for ever.
    constexpr double kLeastGain = 1e-12;
    const double left = limit_ - cost();
    double scale = 0;
    for (size_t t = 0; t < tensors_.size(); ++t) scale += std::abs(tensors_[t][chosen_[t]].value);
    double gain = -kLeastGain * scale;
    std::pair<size_t, size_t> found{kNone, kNone};
    for (size_t i = 0; i < moves.size(); ++i) {
      const auto end = std::ranges::upper_bound(moves, left - moves[i].cost, {}, &Move::cost);
      if (end == moves.begin()) continue;
      const Best& b = best[static_cast<size_t>(end - moves.begin()) - 1];
      const size_t partner = moves[b.first].tensor != moves[i].tensor ? b.first : b.second;
      if (partner == kNone || moves[i].value + moves[partner].value >= gain) continue;
      gain = moves[i].value + moves[partner].value;
      found = {i, partner};
    }
    if (found.first == kNone) return false;
    const std::vector<size_t> before = chosen_;
    for (const size_t i : {found.first, found.second}) {
      if (moves[i].tensor < tensors_.size()) chosen_[moves[i].tensor] = moves[i].to;
    }
    if (cost() <= limit_) return true;
    chosen_ = before;  // the limit is met to the last bit, and the differences were rounded
    return false;
  }

  const std::vector<std::vector<Item>> tensors_;
  const double limit_;
  std::vector<std::vector<Item>> hulls_;
  std::vector<size_t> chosen_;
};

template <typename ToItem>
std::optional<Allocation> solve(std::span<const std::vector<Choice>> tensors, double limit, const ToItem& to_item) {
  std::vector<std::vector<Item>> items;
  for (const std::vector<Choice>& choices : tensors) {
    std::vector<Item>& of_tensor = items.emplace_back();
    for (size_t i = 0; i < choices.size(); ++i) of_tensor.push_back(to_item(choices[i], i));
  }
  const auto chosen = Solver(std::move(items), limit).run();
  if (!chosen) return std::nullopt;
  Allocation out;
  out.chosen = *chosen;
  for (size_t t = 0; t < tensors.size(); ++t) {
    out.bytes += tensors[t][out.chosen[t]].bytes;
    out.loss += tensors[t][out.chosen[t]].loss;
  }
  return out;
}

}  // namespace

std::optional<Allocation> least_loss(std::span<const std::vector<Choice>> tensors, uint64_t limit) {
  return solve(tensors, static_cast<double>(limit), [](const Choice& c, size_t i) {
    return Item{static_cast<double>(c.bytes), c.loss, i};
  });
}

std::optional<Allocation> fewest_bytes(std::span<const std::vector<Choice>> tensors, double limit) {
  return solve(tensors, limit, [](const Choice& c, size_t i) { return Item{c.loss, static_cast<double>(c.bytes), i}; });
}

}  // namespace lowbit

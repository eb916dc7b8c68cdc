// Included by search_*.cc inside the namespace of an instruction set, after its vec_*.h.

namespace {

/// Levels of whole numbers.
struct Integers {
  Vec low, high;
  explicit Integers(const LevelSet& levels) : low(set1(levels.low)), high(set1(levels.high)) {}
  Vec nearest_level(Vec x) const { return min(max(nearest(x), low), high); }
};

/// Levels of a table of 16, by bisection.
struct Table {
  Vec level[16], middle[15];
  explicit Table(const LevelSet& levels) {
    for (int i = 0; i < 16; ++i) level[i] = set1(levels.table[i]);
    for (int i = 0; i < 15; ++i) middle[i] = set1((levels.table[i] + levels.table[i + 1]) * 0.5f);
  }
  Vec nearest_level(Vec x) const {
    Vec out = level[0];
    for (int i = 0; i < 15; ++i) out = select_greater(x, middle[i], level[i + 1], out);
    return out;
  }
};

inline Vec load(const LaneFloats& v) { return load(v.lane); }
inline void store(LaneFloats& v, Vec a) { store(v.lane, a); }

/// a / b where b > 0, else 0.
inline Vec divide_or_zero(Vec a, Vec b) {
  const Vec zero = set1(0.0f), positive = select_greater(b, zero, b, set1(1.0f));
  return select_greater(b, zero, div(a, positive), zero);
}

/// 1 / a where a is not 0, else 0.
inline Vec inverse_or_zero(Vec a) {
  const Vec zero = set1(0.0f), one = set1(1.0f), square = mul(a, a);
  return select_greater(square, zero, div(one, select_greater(square, zero, a, one)), zero);
}

/// The scale that fits the codes of x * inverse best. gain: how much of sum(weight x^2) it explains.
template <typename Levels>
inline void fit_scale(const SubBlocks& b, const Levels& levels, Vec inverse, Vec& scale, Vec& gain) {
  Vec ll = set1(0.0f), lx = set1(0.0f);
  for (int i = 0; i < b.size; ++i) {
    const Vec x = load(b.x[i]), level = levels.nearest_level(mul(x, inverse));
    const Vec weighted = mul(load(b.weight[i]), level);
    ll = fma(weighted, level, ll);
    lx = fma(weighted, x, lx);
  }
  scale = divide_or_zero(lx, ll);
  gain = mul(scale, lx);
}

template <typename Levels>
void search_scale_of(const SubBlocks& b, const Levels& levels, const ScaleCandidates& candidates, LaneGrid& out) {
  const Vec zero = set1(0.0f);
  Vec most = zero, magnitude = zero;
  for (int i = 0; i < b.size; ++i) {
    const Vec x = load(b.x[i]), m = max_magnitude(x, x);
    most = select_greater(m, magnitude, x, most);
    magnitude = max(m, magnitude);
  }
  const Vec unit = inverse_or_zero(most);
  Vec best_scale = zero, best_gain = zero;
  const auto attempt = [&](Vec inverse) {
    Vec scale, gain;
    fit_scale(b, levels, inverse, scale, gain);
    best_scale = select_greater(gain, best_gain, scale, best_scale);
    best_gain = max(gain, best_gain);
  };
  for (int c = 0; c < candidates.count; ++c) attempt(mul(unit, set1(candidates.targets[c])));
  for (int r = 0; r < candidates.rounds; ++r) attempt(inverse_or_zero(best_scale));
  store(out.scale, best_scale);
  store(out.min, zero);
}

/// Sums over a sub-block that do not depend on codes.
struct Totals {
  Vec w, x;
};

/// The scale and offset (-min) that fit the codes of x * inverse + shift best.
inline void fit_affine(const SubBlocks& b, const Integers& levels, const Totals& total, bool min_positive, Vec inverse,
                       Vec shift, Vec& scale, Vec& offset, Vec& gain) {
  const Vec zero = set1(0.0f);
  Vec l = zero, ll = zero, lx = zero;
  for (int i = 0; i < b.size; ++i) {
    const Vec x = load(b.x[i]), level = levels.nearest_level(fma(x, inverse, shift));
    const Vec weighted = mul(load(b.weight[i]), level);
    l = add(l, weighted);
    ll = fma(weighted, level, ll);
    lx = fma(weighted, x, lx);
  }
  const Vec determinant = sub(mul(total.w, ll), mul(l, l));
  scale = divide_or_zero(sub(mul(total.w, lx), mul(l, total.x)), determinant);
  // Where all codes are equal the offset alone is fitted.
  offset = div(sub(total.x, mul(scale, l)), total.w);
  if (min_positive) {
    const Vec alone = divide_or_zero(lx, ll);
    scale = select_greater(offset, zero, alone, scale);
    offset = min(offset, zero);
  }
  scale = max(scale, zero);
  // error = sum w (x - scale l - offset)^2 = sum w x^2 - gain
  const Vec twice = add(mul(scale, lx), mul(offset, total.x));
  const Vec square =
      add(add(mul(mul(scale, scale), ll), mul(mul(offset, offset), total.w)), mul(mul(add(scale, scale), offset), l));
  gain = sub(add(twice, twice), square);
}

}  // namespace

void search_scale(const SubBlocks& blocks, const LevelSet& levels, const ScaleCandidates& candidates, LaneGrid& out) {
  if (levels.table != nullptr) return search_scale_of(blocks, Table(levels), candidates, out);
  search_scale_of(blocks, Integers(levels), candidates, out);
}

void search_affine(const SubBlocks& b, const LevelSet& set, const AffineCandidates& candidates, LaneGrid& out) {
  const Integers levels(set);
  const Vec zero = set1(0.0f);
  Totals total{zero, zero};
  Vec lowest = load(b.x[0]), highest = lowest;
  for (int i = 0; i < b.size; ++i) {
    const Vec x = load(b.x[i]), w = load(b.weight[i]);
    lowest = min(x, lowest);
    highest = max(x, highest);
    total.w = add(total.w, w);
    total.x = fma(w, x, total.x);
  }
  if (candidates.min_positive) {
    lowest = min(lowest, zero);
    highest = max(highest, zero);
  }
  const Vec unit = inverse_or_zero(sub(highest, lowest));
  Vec best_scale = zero, best_offset = candidates.min_positive ? min(lowest, zero) : lowest;
  Vec best_gain = set1(-1e30f);
  const auto attempt = [&](Vec inverse, Vec shift) {
    Vec scale, offset, gain;
    fit_affine(b, levels, total, candidates.min_positive, inverse, shift, scale, offset, gain);
    best_scale = select_greater(gain, best_gain, scale, best_scale);
    best_offset = select_greater(gain, best_gain, offset, best_offset);
    best_gain = max(gain, best_gain);
  };
  for (int c = 0; c < candidates.count; ++c) {
    const Vec inverse = mul(unit, set1(candidates.highs[c] - candidates.lows[c]));
    attempt(inverse, fnma(lowest, inverse, set1(candidates.lows[c])));
  }
  for (int r = 0; r < candidates.rounds; ++r) {
    const Vec inverse = inverse_or_zero(best_scale);
    attempt(inverse, fnma(best_offset, inverse, zero));
  }
  store(out.scale, best_scale);
  store(out.min, sub(zero, best_offset));
}

namespace {

template <typename Levels>
void grid_error_of(const SubBlocks& b, const Levels& levels, const LaneGrid& grid, LaneFloats& out) {
  const Vec scale = load(grid.scale), least = load(grid.min), inverse = inverse_or_zero(scale);
  const Vec shift = mul(least, inverse);
  Vec error = set1(0.0f);
  for (int i = 0; i < b.size; ++i) {
    const Vec x = load(b.x[i]), level = levels.nearest_level(fma(x, inverse, shift));
    const Vec off = sub(x, sub(mul(scale, level), least));
    error = fma(mul(load(b.weight[i]), off), off, error);
  }
  store(out, error);
}

}  // namespace

void grid_error(const SubBlocks& blocks, const LevelSet& levels, const LaneGrid& grid, LaneFloats& out) {
  if (levels.table != nullptr) return grid_error_of(blocks, Table(levels), grid, out);
  grid_error_of(blocks, Integers(levels), grid, out);
}

void grid_assign(const SubBlocks& b, const LevelSet& levels, const LaneGrid& grid, uint8_t* codes) {
  const Vec scale = load(grid.scale), least = load(grid.min), inverse = inverse_or_zero(scale);
  const Integers integers(levels);
  for (int i = 0; i < b.size; ++i) {
    const Vec at = mul(add(load(b.x[i]), least), inverse);
    LaneFloats code;
    if (levels.table != nullptr) {
      Vec index = set1(0.0f);
      for (int c = 0; c < 15; ++c) {
        const Vec middle = set1((levels.table[c] + levels.table[c + 1]) * 0.5f);
        index = select_greater(at, middle, set1(static_cast<float>(c + 1)), index);
      }
      store(code, index);
    } else {
      store(code, sub(integers.nearest_level(at), integers.low));
    }
    for (int l = 0; l < kLanes; ++l) codes[l * b.size + i] = static_cast<uint8_t>(code.lane[l]);
  }
}

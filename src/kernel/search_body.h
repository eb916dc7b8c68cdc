// Included by search_*.cc inside the namespace of an instruction set, after its vec_*.h. kAtOnce says how many
// candidates go through a sub-block together: as many as its registers hold.

namespace {

inline Vec load(const LaneFloats& v) { return load(v.lane); }
inline void store(LaneFloats& v, Vec a) { store(v.lane, a); }

/// Levels of whole numbers.
struct Integers {
  Vec low, high;
  explicit Integers(const LevelSet& levels) : low(set1(levels.low)), high(set1(levels.high)) {}
  Vec nearest_level(Vec x) const { return min(max(nearest(x), low), high); }
  Vec nearest_code(Vec x) const { return nearest_level(x); }
};

/// Levels of a table of 16: how many of the 15 middles lie below x?
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
  Vec nearest_code(Vec x) const {
    Vec out = set1(0.0f);
    for (int i = 0; i < 15; ++i) out = select_greater(x, middle[i], set1(static_cast<float>(i + 1)), out);
    return out;
  }
};

/// The weights of squared errors, or all 1.
struct Weighted {
  const SubBlocks& b;
  Vec times(int i, Vec a) const { return mul(load(b.weight[i]), a); }
};
struct Unweighted {
  explicit Unweighted(const SubBlocks&) {}
  Vec times(int, Vec a) const { return a; }
};

/// Calls f with the kind of levels and weights at hand, so that loops are compiled for each.
template <typename F>
inline void dispatch(const SubBlocks& b, const LevelSet& levels, F f) {
  if (levels.table != nullptr) {
    const Table table(levels);
    return b.weighted ? f(table, Weighted{b}) : f(table, Unweighted{b});
  }
  const Integers integers(levels);
  b.weighted ? f(integers, Weighted{b}) : f(integers, Unweighted{b});
}

/// a / b where b > 0, else 0.
inline Vec divide_or_zero(Vec a, Vec b) {
  const Vec zero = set1(0.0f);
  return select_greater(b, zero, div(a, select_greater(b, zero, b, set1(1.0f))), zero);
}

/// 1 / a where a^2 is not 0, else 0.
inline Vec inverse_or_zero(Vec a) {
  const Vec zero = set1(0.0f), one = set1(1.0f), square = mul(a, a);
  return select_greater(square, zero, div(one, select_greater(square, zero, a, one)), zero);
}

/// The best scale so far, and how much of sum(weight x^2) it explains.
struct BestScale {
  Vec scale, gain;
};

/// Tries kCount mappings: the scales that fit the codes of x * inverse[c] best.
template <int kCount, typename Levels, typename Weights>
inline void try_scales(const SubBlocks& b, const Levels& levels, const Weights& weights, const Vec* inverse,
                       BestScale& best) {
  Vec ll[kCount], lx[kCount];
  for (int c = 0; c < kCount; ++c) ll[c] = lx[c] = set1(0.0f);
  for (int i = 0; i < b.size; ++i) {
    const Vec x = load(b.x[i]);
    LOWBIT_UNROLL
    for (int c = 0; c < kCount; ++c) {
      const Vec level = levels.nearest_level(mul(x, inverse[c])), weighted = weights.times(i, level);
      ll[c] = fma(weighted, level, ll[c]);
      lx[c] = fma(weighted, x, lx[c]);
    }
  }
  for (int c = 0; c < kCount; ++c) {
    const Vec scale = divide_or_zero(lx[c], ll[c]), gain = mul(scale, lx[c]);
    best.scale = select_greater(gain, best.gain, scale, best.scale);
    best.gain = max(gain, best.gain);
  }
}

template <typename Levels, typename Weights>
void search_scale_of(const SubBlocks& b, const Levels& levels, const Weights& weights,
                     const ScaleCandidates& candidates, LaneGrid& out) {
  const Vec zero = set1(0.0f);
  Vec most = zero, magnitude = zero;
  for (int i = 0; i < b.size; ++i) {
    const Vec x = load(b.x[i]), m = max_magnitude(x, x);
    most = select_greater(m, magnitude, x, most);
    magnitude = max(m, magnitude);
  }
  const Vec unit = inverse_or_zero(most);
  BestScale best{zero, zero};
  Vec inverse[kAtOnce];
  int c = 0;
  for (; c + kAtOnce <= candidates.count; c += kAtOnce) {
    for (int k = 0; k < kAtOnce; ++k) inverse[k] = mul(unit, set1(candidates.targets[c + k]));
    try_scales<kAtOnce>(b, levels, weights, inverse, best);
  }
  for (; c < candidates.count; ++c) {
    inverse[0] = mul(unit, set1(candidates.targets[c]));
    try_scales<1>(b, levels, weights, inverse, best);
  }
  for (int r = 0; r < candidates.rounds; ++r) {
    inverse[0] = inverse_or_zero(best.scale);
    try_scales<1>(b, levels, weights, inverse, best);
  }
  store(out.scale, best.scale);
  store(out.min, zero);
}

struct BestAffine {
  Vec scale, offset, gain;
};

/// Tries kCount mappings: the scales and offsets (-min) that fit the codes of x * inverse[c] + shift[c] best.
template <int kCount, typename Weights>
inline void try_affine(const SubBlocks& b, const Integers& levels, const Weights& weights, bool min_positive,
                       const Vec* inverse, const Vec* shift, BestAffine& best) {
  const Vec zero = set1(0.0f), total = load(b.total), total_x = load(b.total_x);
  Vec l[kCount], ll[kCount], lx[kCount];
  for (int c = 0; c < kCount; ++c) l[c] = ll[c] = lx[c] = zero;
  for (int i = 0; i < b.size; ++i) {
    const Vec x = load(b.x[i]);
    LOWBIT_UNROLL
    for (int c = 0; c < kCount; ++c) {
      const Vec level = levels.nearest_level(fma(x, inverse[c], shift[c])), weighted = weights.times(i, level);
      l[c] = add(l[c], weighted);
      ll[c] = fma(weighted, level, ll[c]);
      lx[c] = fma(weighted, x, lx[c]);
    }
  }
  for (int c = 0; c < kCount; ++c) {
    const Vec determinant = sub(mul(total, ll[c]), mul(l[c], l[c]));
    Vec scale = divide_or_zero(sub(mul(total, lx[c]), mul(l[c], total_x)), determinant);
    // Where all codes are equal, the offset alone is fitted.
    Vec offset = div(sub(total_x, mul(scale, l[c])), total);
    if (min_positive) {
      scale = select_greater(offset, zero, divide_or_zero(lx[c], ll[c]), scale);
      offset = min(offset, zero);
    }
    scale = max(scale, zero);
    // gain = sum w x^2 - sum w (x - scale l - offset)^2
    const Vec twice = add(mul(scale, lx[c]), mul(offset, total_x));
    const Vec square = add(add(mul(mul(scale, scale), ll[c]), mul(mul(offset, offset), total)),
                           mul(mul(add(scale, scale), offset), l[c]));
    const Vec gain = sub(add(twice, twice), square);
    best.scale = select_greater(gain, best.gain, scale, best.scale);
    best.offset = select_greater(gain, best.gain, offset, best.offset);
    best.gain = max(gain, best.gain);
  }
}

template <typename Weights>
void search_affine_of(const SubBlocks& b, const Integers& levels, const Weights& weights,
                      const AffineCandidates& candidates, LaneGrid& out) {
  const Vec zero = set1(0.0f);
  Vec lowest = load(b.x[0]), highest = lowest;
  for (int i = 1; i < b.size; ++i) {
    const Vec x = load(b.x[i]);
    lowest = min(x, lowest);
    highest = max(x, highest);
  }
  if (candidates.min_positive) {
    lowest = min(lowest, zero);
    highest = max(highest, zero);
  }
  const Vec unit = inverse_or_zero(sub(highest, lowest));
  BestAffine best{zero, lowest, set1(-1e30f)};
  Vec inverse[kAtOnce], shift[kAtOnce];
  const auto candidate = [&](int c, int k) {
    inverse[k] = mul(unit, set1(candidates.highs[c] - candidates.lows[c]));
    shift[k] = fnma(lowest, inverse[k], set1(candidates.lows[c]));
  };
  int c = 0;
  for (; c + kAtOnce <= candidates.count; c += kAtOnce) {
    for (int k = 0; k < kAtOnce; ++k) candidate(c + k, k);
    try_affine<kAtOnce>(b, levels, weights, candidates.min_positive, inverse, shift, best);
  }
  for (; c < candidates.count; ++c) {
    candidate(c, 0);
    try_affine<1>(b, levels, weights, candidates.min_positive, inverse, shift, best);
  }
  for (int r = 0; r < candidates.rounds; ++r) {
    inverse[0] = inverse_or_zero(best.scale);
    shift[0] = fnma(best.offset, inverse[0], zero);
    try_affine<1>(b, levels, weights, candidates.min_positive, inverse, shift, best);
  }
  store(out.scale, best.scale);
  store(out.min, sub(zero, best.offset));
}

struct Sums {
  Vec l, ll, lx, error;
};

template <typename Levels, typename Weights>
inline Sums measure_of(const SubBlocks& b, const Levels& levels, const Weights& weights, Vec scale, Vec least) {
  const Vec inverse = inverse_or_zero(scale), shift = mul(least, inverse);
  Sums out{set1(0.0f), set1(0.0f), set1(0.0f), set1(0.0f)};
  for (int i = 0; i < b.size; ++i) {
    const Vec x = load(b.x[i]), level = levels.nearest_level(fma(x, inverse, shift));
    const Vec weighted = weights.times(i, level), off = fnma(scale, level, add(x, least));
    out.l = add(out.l, weighted);
    out.ll = fma(weighted, level, out.ll);
    out.lx = fma(weighted, x, out.lx);
    out.error = fma(weights.times(i, off), off, out.error);
  }
  return out;
}

/// Every lane's choice, in registers.
struct Chosen {
  Vec scale, least;  // integers
  Sums sums;

  void take_if_better(Vec new_scale, Vec new_least, const Sums& s) {
    scale = select_greater(sums.error, s.error, new_scale, scale);
    least = select_greater(sums.error, s.error, new_least, least);
    sums.l = select_greater(sums.error, s.error, s.l, sums.l);
    sums.ll = select_greater(sums.error, s.error, s.ll, sums.ll);
    sums.lx = select_greater(sums.error, s.error, s.lx, sums.lx);
    sums.error = min(s.error, sums.error);
  }
};

template <typename Levels, typename Weights>
void improve_of(const SubBlocks& b, const Levels& levels, const Weights& weights, const IntegerRange& range,
                LaneChoice& choice) {
  const Vec zero = set1(0.0f), unit = load(choice.unit), min_unit = load(choice.min_unit);
  const Vec total = load(b.total), total_x = load(b.total_x), inverse_min_unit = inverse_or_zero(min_unit);
  const Vec start_scale = load(choice.scale), start_least = load(choice.min);
  Chosen best{start_scale, start_least, {load(choice.l), load(choice.ll), load(choice.lx), load(choice.error)}};
  for (int step = -1; step <= 1; ++step) {
    const Vec scale =
        min(max(add(start_scale, set1(static_cast<float>(step))), set1(range.lowest_scale)), set1(range.highest_scale));
    const Vec grid_scale = mul(unit, scale);
    if (range.highest_min == 0) {
      if (step != 0) best.take_if_better(scale, zero, measure_of(b, levels, weights, grid_scale, zero));
      continue;
    }
    Sums sums = best.sums;
    if (step != 0) sums = measure_of(b, levels, weights, grid_scale, mul(min_unit, start_least));
    if (step != 0) best.take_if_better(scale, start_least, sums);
    const Vec wanted = div(sub(mul(grid_scale, sums.l), total_x), total);
    const Vec least = min(max(nearest(mul(wanted, inverse_min_unit)), zero), set1(range.highest_min));
    best.take_if_better(scale, least, measure_of(b, levels, weights, grid_scale, mul(min_unit, least)));
  }
  store(choice.scale, best.scale);
  store(choice.min, best.least);
  store(choice.l, best.sums.l);
  store(choice.ll, best.sums.ll);
  store(choice.lx, best.sums.lx);
  store(choice.error, best.sums.error);
}

}  // namespace

void search_scale(const SubBlocks& b, const LevelSet& set, const ScaleCandidates& candidates, LaneGrid& out) {
  dispatch(b, set,
           [&](const auto& levels, const auto& weights) { search_scale_of(b, levels, weights, candidates, out); });
}

void search_affine(const SubBlocks& b, const LevelSet& set, const AffineCandidates& candidates, LaneGrid& out) {
  const Integers levels(set);
  if (b.weighted) return search_affine_of(b, levels, Weighted{b}, candidates, out);
  search_affine_of(b, levels, Unweighted{b}, candidates, out);
}

void measure(const SubBlocks& b, const LevelSet& set, LaneChoice& choice) {
  dispatch(b, set, [&](const auto& levels, const auto& weights) {
    const Sums sums = measure_of(b, levels, weights, mul(load(choice.unit), load(choice.scale)),
                                 mul(load(choice.min_unit), load(choice.min)));
    store(choice.l, sums.l);
    store(choice.ll, sums.ll);
    store(choice.lx, sums.lx);
    store(choice.error, sums.error);
  });
}

void improve(const SubBlocks& b, const LevelSet& set, const IntegerRange& range, LaneChoice& choice) {
  dispatch(b, set, [&](const auto& levels, const auto& weights) { improve_of(b, levels, weights, range, choice); });
}

float fit_unit(const float* values, const float* weights, int count, float low, float high, const float* targets,
               int rounds) {
  float most = 0;
  for (int i = 0; i < count; ++i) {
    if (__builtin_fabsf(values[i]) > __builtin_fabsf(most)) most = values[i];
  }
  if (most == 0) return 0;
  const Vec zero = set1(0.0f), lowest = set1(low), highest = set1(high);
  Vec best_unit = zero, best_gain = zero;
  for (int r = 0; r < rounds; ++r) {
    const Vec inverse = div(load(targets + 16 * r), set1(most));
    Vec kk = zero, kv = zero;
    for (int i = 0; i < count; ++i) {
      const Vec value = set1(values[i]);
      const Vec k = min(max(nearest(mul(value, inverse)), lowest), highest);
      const Vec weighted = mul(set1(weights[i]), k);
      kk = fma(weighted, k, kk);
      kv = fma(weighted, value, kv);
    }
    const Vec unit = divide_or_zero(kv, kk), gain = mul(unit, kv);
    best_unit = select_greater(gain, best_gain, unit, best_unit);
    best_gain = max(gain, best_gain);
  }
  LaneFloats unit, gain;
  store(unit, best_unit);
  store(gain, best_gain);
  int best = 0;
  for (int i = 1; i < 16; ++i) {
    if (gain.lane[i] > gain.lane[best]) best = i;
  }
  return unit.lane[best];
}

void assign(const SubBlocks& b, const LevelSet& set, const LaneGrid& grid, LaneBytes* codes) {
  const Vec least = load(grid.min), inverse = inverse_or_zero(load(grid.scale));
  dispatch(b, set, [&](const auto& levels, const auto&) {
    for (int i = 0; i < b.size; ++i) {
      store_int8(codes[i].lane, levels.nearest_code(mul(add(load(b.x[i]), least), inverse)));
    }
  });
}

namespace {

/// The exponent of a positive number, within bounds.
inline int exponent_of(float x, int lowest, int highest) {
  const int exponent = static_cast<int>(__builtin_bit_cast(uint32_t, x) >> 23) - 127;
  return exponent < lowest ? lowest : exponent > highest ? highest : exponent;
}
inline float two_to(int n) { return __builtin_bit_cast(float, static_cast<uint32_t>(n + 127) << 23); }

/// Gives the lanes of each block their greatest value.
inline void spread_greatest(LaneFloats& v, int per_block) {
  for (int first = 0; first < kLanes; first += per_block) {
    float most = v.lane[first];
    for (int l = first; l < first + per_block; ++l) most = v.lane[l] > most ? v.lane[l] : most;
    for (int l = first; l < first + per_block; ++l) v.lane[l] = most;
  }
}

/// Gives the lanes of each block their mean.
inline void spread_mean(LaneFloats& v, int per_block) {
  for (int first = 0; first < kLanes; first += per_block) {
    float sum = 0;
    for (int l = first; l < first + per_block; ++l) sum += v.lane[l];
    for (int l = first; l < first + per_block; ++l) v.lane[l] = sum / static_cast<float>(per_block);
  }
}

void weigh(SubBlocks& b, int per_block, Vec squares, float evenness) {
  LaneFloats mean, most, factor;
  store(mean, mul(squares, set1(1.0f / static_cast<float>(b.size))));
  spread_mean(mean, per_block);
  Vec greatest = set1(0.0f);
  for (int i = 0; i < b.size; ++i) greatest = max(load(b.weight[i]), greatest);
  store(most, greatest);
  spread_greatest(most, per_block);
  for (int l = 0; l < kLanes; ++l) factor.lane[l] = two_to(-exponent_of(most.lane[l], -126, 126));
  const Vec f = load(factor), zero = set1(0.0f), one = set1(1.0f), least = set1(kLeastWeight), blank = load(most);
  const Vec base = mul(load(mean), set1(evenness));
  for (int i = 0; i < b.size; ++i) {
    const Vec x = load(b.x[i]);
    Vec w = max(mul(load(b.weight[i]), f), least);
    if (evenness >= 0) w = mul(w, square_root(fma(x, x, base)));
    store(b.weight[i], select_greater(blank, zero, w, one));
  }
}

}  // namespace

void prepare(SubBlocks& b, int per_block, float evenness, LaneFloats& factor) {
  Vec most = set1(0.0f);
  for (int i = 0; i < b.size; ++i) most = max_magnitude(load(b.x[i]), most);
  LaneFloats magnitude;
  store(magnitude, most);
  spread_greatest(magnitude, per_block);
  for (int l = 0; l < kLanes; ++l) {
    factor.lane[l] = two_to(-exponent_of(magnitude.lane[l], kLowestExponent, kHighestExponent));
  }
  const Vec f = load(factor), zero = set1(0.0f);
  Vec squares = zero, sum = zero;
  for (int i = 0; i < b.size; ++i) {
    const Vec x = mul(load(b.x[i]), f);
    store(b.x[i], x);
    squares = fma(x, x, squares);
    sum = add(sum, x);
  }
  Vec total = set1(static_cast<float>(b.size));
  if (b.weighted) {
    weigh(b, per_block, squares, evenness);
    total = sum = zero;
    for (int i = 0; i < b.size; ++i) {
      const Vec w = load(b.weight[i]);
      total = add(total, w);
      sum = fma(w, load(b.x[i]), sum);
    }
  }
  store(b.total, total);
  store(b.total_x, sum);
}

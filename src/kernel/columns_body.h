// Included by search_*.cc after search_body.h: rounding column by column, sixteen rows side by side.

namespace {

/// kCount columns from `first` on: each is one chain over the earlier columns, in ascending order.
template <int kCount>
inline void take_up_columns(const ColumnRun& run, int first) {
  Vec x[kCount];
  const float* lower[kCount];
  for (int k = 0; k < kCount; ++k) {
    x[k] = load(run.x[first + k]);
    lower[k] = run.lower + (first + k) * run.stride;
  }
  for (int64_t i = 0; i < run.before; ++i) {
    const Vec error = load(run.errors[i]);
    for (int k = 0; k < kCount; ++k) x[k] = fnma(error, set1(lower[k][i]), x[k]);
  }
  for (int k = 0; k < kCount; ++k) store(run.x[first + k], x[k]);
}

template <typename Levels, typename LevelOf>
void round_columns_of(const ColumnRun& run, const Levels& levels, const LevelOf& level_of, const LaneGrid* grids,
                      int width, LaneBytes* codes) {
  LaneFloats* errors = run.errors + run.before;
  for (int j = 0; j < run.count; ++j) {
    const float* lower = run.lower + j * run.stride + run.before;
    Vec parts[4] = {load(run.x[j]), set1(0.0f), set1(0.0f), set1(0.0f)};
    int i = 0;
    for (; i + 4 <= j; i += 4) {
      for (int k = 0; k < 4; ++k) parts[k] = fnma(load(errors[i + k]), set1(lower[i + k]), parts[k]);
    }
    for (; i < j; ++i) parts[0] = fnma(load(errors[i]), set1(lower[i]), parts[0]);
    const Vec x = add(add(parts[0], parts[1]), add(parts[2], parts[3]));
    store(run.x[j], x);

    const LaneGrid& grid = grids[j / width];
    const Vec scale = load(grid.scale), least = load(grid.min);
    const Vec place = mul(add(x, least), inverse_or_zero(scale));
    store_int8(codes[j].lane, levels.nearest_code(place));
    store(errors[j], sub(x, sub(mul(scale, level_of(place)), least)));
  }
}

}  // namespace

void take_up(const ColumnRun& run) {
  constexpr int kColumns = 2 * kAtOnce;
  int first = 0;
  for (; first + kColumns <= run.count; first += kColumns) take_up_columns<kColumns>(run, first);
  for (; first < run.count; ++first) take_up_columns<1>(run, first);
}

void round_columns(const ColumnRun& run, const LevelSet& set, const LaneGrid* grids, int width, LaneBytes* codes) {
  if (set.table != nullptr) {
    const Table table(set);
    round_columns_of(
        run, table, [&](Vec place) { return table.nearest_level(place); }, grids, width, codes);
  } else {
    const Integers integers(set);
    round_columns_of(
        run, integers, [&](Vec place) { return integers.nearest_level(place); }, grids, width, codes);
  }
}

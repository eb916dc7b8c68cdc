// Included inside the namespace of an instruction set, after codes_*.h.

namespace {

/// One step of a dot product.
template <typename Rule>
LOWBIT_INLINE Ints add_product(Ints sum, Ints codes, Ints four) {
  if constexpr (Rule::kInWords)
    return Rule::add_words(sum, Rule::products(codes, four));
  else
    return Rule::add(sum, codes, four);
}

}  // namespace

int64_t peak_codes(int64_t rounds) {
  // Of 4-bit codes, which ask for the fewest steps; as many chains as hide the latency of a dot-product instruction.
  using Rule = DotRule<4, false>;
  constexpr int kCodes = 2, kFours = 5;
  Ints codes[kCodes], fours[kFours], sums[kCodes][kFours];
  for (int f = 0; f < kFours; ++f) fours[f] = every_byte(f + 1);
  for (int c = 0; c < kCodes; ++c) {
    codes[c] = every_byte(c + 1);
    for (int f = 0; f < kFours; ++f) sums[c][f] = zero();
  }
  for (int64_t i = 0; i < rounds; ++i) {
    for (int c = 0; c < kCodes; ++c) {
      for (int f = 0; f < kFours; ++f) sums[c][f] = add_product<Rule>(sums[c][f], codes[c], fours[f]);
      asm volatile("" : "+v"(codes[c]));  // not known to be the same each time
    }
  }
  for (int c = 0; c < kCodes; ++c) {
    for (int f = 0; f < kFours; ++f) asm volatile("" ::"v"(sums[c][f]));
  }
  return rounds * kCodes * kFours * static_cast<int64_t>(sizeof(Ints)) * 2;
}

int64_t peak_floats(int64_t rounds) {
  constexpr int kChains = 10;
  Floats total[kChains], weight = every_float(0.5f);
  for (int i = 0; i < kChains; ++i) total[i] = every_float(static_cast<float>(i));
  for (int64_t r = 0; r < rounds; ++r) {
    for (int i = 0; i < kChains; ++i) total[i] = fma(weight, total[i], weight);
  }
  for (int i = 0; i < kChains; ++i) asm volatile("" ::"v"(total[i]));
  return rounds * kChains * static_cast<int64_t>(sizeof(Floats) / sizeof(float)) * 2;
}

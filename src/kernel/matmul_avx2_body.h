// Products with coded weights for AVX2, 8 rows at a time, included inside the namespace of an instruction set: plain
// AVX2, or AVX-VNNI where __AVXVNNI__ is defined. matmul_ref.cc defines the order of operations.

namespace {

/// Tokens that share the decoding of a tile.
constexpr int kTokens = 8;
/// Chunks (of 256 columns) between two visits of the outputs, so that activations and weights stay in near caches.
constexpr int64_t kBlockChunks = 4;
/// Rows of a panel that one register holds.
constexpr int kHalfRows = 8;

inline __m256i load_bytes(const uint8_t* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }

inline __m256 load_halves(const uint8_t* p) {
  return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
}

/// 8 groups of 4 columns of 8 rows; unsigned, but for 8 bits and tables signed.
struct Codes {
  __m256i group[8];
};

inline __m256i or_masked(__m256i a, __m256i b, __m256i mask) { return _mm256_or_si256(a, _mm256_and_si256(b, mask)); }

template <int kBits>
inline Codes load_codes(const uint8_t* planes) {
  Codes codes;
  if constexpr (kBits == 8) {
    for (int g = 0; g < 8; ++g) {
      codes.group[g] = _mm256_xor_si256(load_bytes(planes + 64 * g), _mm256_set1_epi8(-128));
    }
    return codes;
  }
  constexpr int kLow = kBits >= 4 ? 4 : 0;  // bits that the 4-bit plane gives
  if constexpr (kLow == 4) {
    const __m256i mask = _mm256_set1_epi8(15);
    for (int g = 0; g < 4; ++g) {
      const __m256i plane = load_bytes(planes + 64 * g);
      codes.group[g] = _mm256_and_si256(plane, mask);
      codes.group[g + 4] = _mm256_and_si256(_mm256_srli_epi16(plane, 4), mask);
    }
    planes += 256;
  }
  if constexpr (kBits == 2 || kBits == 3 || kBits == 6) {
    const __m256i mask = _mm256_set1_epi8(3 << kLow);
    for (int i = 0; i < 2; ++i) {
      const __m256i plane = load_bytes(planes + 64 * i);
      const __m256i fields[4] = {
          kLow == 4 ? _mm256_slli_epi16(plane, 4) : plane,
          kLow == 4 ? _mm256_slli_epi16(plane, 2) : _mm256_srli_epi16(plane, 2),
          kLow == 4 ? plane : _mm256_srli_epi16(plane, 4),
          kLow == 4 ? _mm256_srli_epi16(plane, 2) : _mm256_srli_epi16(plane, 6),
      };
      for (int f = 0; f < 4; ++f) {
        __m256i& code = codes.group[4 * i + f];
        code = kLow == 4 ? or_masked(code, fields[f], mask) : _mm256_and_si256(fields[f], mask);
      }
    }
    planes += 128;
  }
  if constexpr (kBits % 2 == 1) {
    constexpr int kTo = kBits - 1;  // the bit that this plane gives
    const __m256i mask = _mm256_set1_epi8(1 << kTo);
    const __m256i plane = load_bytes(planes);
    for (int g = 0; g < 8; ++g) {
      const __m256i bit = g < kTo ? _mm256_slli_epi16(plane, kTo - g) : _mm256_srli_epi16(plane, g - kTo);
      codes.group[g] = or_masked(codes.group[g], bit, mask);
    }
  }
  return codes;
}

/// The floats that multiply the dots and sums of a tile.
template <Family F>
struct Scales {
  static constexpr FamilyTraits kTraits = traits(F);
  static constexpr int kParts = kTraits.sub_scales == 2 ? 2 : 1;
  __m256 scale[kParts], minimum[kParts];

  /// `half` is 0 for the first 8 rows, 1 for the others.
  Scales(const uint8_t* chunk, int tiles, int tile, int half) {
    const uint8_t* scales = chunk + scales_at(kTraits) + tile * scales_bytes(kTraits);
    const uint8_t* minima = chunk + minima_at(kTraits, tiles) + tile * scales_bytes(kTraits);
    if constexpr (kTraits.sub_scales == 0) {
      scale[0] = load_halves(scales + 16 * half);
      if constexpr (kTraits.minima) minimum[0] = load_halves(minima + 16 * half);
      return;
    }
    const __m256 d = load_halves(chunk + 16 * half);
    for (int s = 0; s < kParts; ++s) {
      const int at = kPanelRows * s + kHalfRows * half;
      const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(scales + at));
      __m256i whole = _mm256_cvtepi8_epi32(bytes);
      if constexpr (kTraits.bits == 2) whole = _mm256_and_si256(whole, _mm256_set1_epi32(15));
      scale[s] = _mm256_mul_ps(d, _mm256_cvtepi32_ps(whole));
      if constexpr (kTraits.minima) {
        __m256i least;
        if constexpr (kTraits.bits == 2) {
          least = _mm256_srli_epi32(_mm256_cvtepu8_epi32(bytes), 4);
        } else {
          least = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(minima + at)));
        }
        minimum[s] = _mm256_mul_ps(load_halves(chunk + 2 * kPanelRows + 16 * half), _mm256_cvtepi32_ps(least));
      }
    }
  }
};

inline __m256i broadcast4(const int8_t* p) {
  int32_t four;
  __builtin_memcpy(&four, p, sizeof four);
  return _mm256_set1_epi32(four);
}

/// start + the exact dot products of kGroups groups.
template <int kBits, bool kSigned, int kGroups>
inline __m256i dot_groups(const __m256i* codes, const int8_t* x, __m256i start) {
  if constexpr (kSigned) {
    // |code| <= 128 is taken as unsigned and its sign goes to the activation: pairs stay within 16 bits.
    for (int g = 0; g < kGroups; ++g) {
      const __m256i magnitude = _mm256_abs_epi8(codes[g]), signs = _mm256_sign_epi8(broadcast4(x + 4 * g), codes[g]);
#if defined(__AVXVNNI__)
      start = _mm256_dpbusd_avx_epi32(start, magnitude, signs);
#else
      start = _mm256_add_epi32(start, _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, signs), _mm256_set1_epi16(1)));
#endif
    }
    return start;
  }
#if defined(__AVXVNNI__)
  for (int g = 0; g < kGroups; ++g) start = _mm256_dpbusd_avx_epi32(start, codes[g], broadcast4(x + 4 * g));
#else
  // So many groups add up within 16 bits: a pair is at most 2 * 127 * (2^bits - 1).
  constexpr int kFit = kBits <= 4 ? 8 : kBits == 5 ? 4 : 2, kStep = kFit < kGroups ? kFit : kGroups;
  for (int g = 0; g < kGroups; g += kStep) {
    __m256i words = _mm256_maddubs_epi16(codes[g], broadcast4(x + 4 * g));
    for (int i = 1; i < kStep; ++i) {
      words = _mm256_add_epi16(words, _mm256_maddubs_epi16(codes[g + i], broadcast4(x + 4 * (g + i))));
    }
    start = _mm256_add_epi32(start, _mm256_madd_epi16(words, _mm256_set1_epi16(1)));
  }
#endif
  return start;
}

template <Family F>
inline __m256 add_tile(const Codes& codes, const Scales<F>& scales, const ActivationTile& x, __m256 total) {
  constexpr FamilyTraits kTraits = traits(F);
  constexpr int kParts = Scales<F>::kParts, kGroups = 8 / kParts;
  constexpr bool kSigned = kTraits.bits == 8 || kTraits.table;
  const int32_t* minus_sums = kParts == 2 ? x.minus_half_sum : &x.minus_sum;
  const float* sums = kParts == 2 ? x.half_sum : &x.sum;
  __m256 value = _mm256_setzero_ps();
  for (int s = 0; s < kParts; ++s) {
    __m256i dot = kTraits.minima || kSigned
                      ? _mm256_setzero_si256()
                      : _mm256_slli_epi32(_mm256_set1_epi32(minus_sums[s]), offset_shift(kTraits));
    dot = dot_groups<kTraits.bits, kSigned, kGroups>(codes.group + s * kGroups, x.codes + s * 4 * kGroups, dot);
    const __m256 dots = _mm256_cvtepi32_ps(dot);
    value = s == 0 ? _mm256_mul_ps(dots, scales.scale[s]) : _mm256_fmadd_ps(dots, scales.scale[s], value);
  }
  if constexpr (kTraits.minima) {
    for (int s = 0; s < kParts; ++s) value = _mm256_fnmadd_ps(scales.minimum[s], _mm256_set1_ps(sums[s]), value);
  }
  return _mm256_fmadd_ps(value, _mm256_set1_ps(x.scale), total);
}

/// What a call multiplies: half a panel by T tokens, tiles [from, to).
struct Block {
  const uint8_t* chunk;     ///< of tile `from`
  const ActivationTile* x;  ///< of tile `from`: [tile][T]
  float* out;               ///< of the half panel's first row
  int64_t stride, from, to, tiles;
  int half;
  __m256i rows;   ///< mask of those that exist
  __m256i table;  ///< signed
};

template <Family F, int T>
void multiply(const Block& b) {
  constexpr FamilyTraits kTraits = traits(F);
  __m256 total[T];
  for (int t = 0; t < T; ++t) {
    total[t] = b.from == 0 ? _mm256_setzero_ps() : _mm256_maskload_ps(b.out + t * b.stride, b.rows);
  }
  const uint8_t* chunk = b.chunk;
  const ActivationTile* x = b.x;
  for (int64_t done = b.from; done < b.to; done += kChunkTiles) {
    const int n = b.tiles - done < kChunkTiles ? static_cast<int>(b.tiles - done) : kChunkTiles;
    const uint8_t* planes = chunk + header_bytes(kTraits, n);
    for (int tile = 0; tile < n; ++tile, x += T, planes += tile_bytes(kTraits)) {
      Codes codes = load_codes<kTraits.bits>(planes + 32 * b.half);
      if constexpr (kTraits.table) {
        for (__m256i& group : codes.group) group = _mm256_shuffle_epi8(b.table, group);
      }
      const Scales<F> scales(chunk, n, tile, b.half);
      for (int t = 0; t < T; ++t) total[t] = add_tile<F>(codes, scales, x[t], total[t]);
    }
    chunk = planes;
  }
  for (int t = 0; t < T; ++t) _mm256_maskstore_ps(b.out + t * b.stride, b.rows, total[t]);
}

template <Family F, int T>
auto pick_multiply(int tokens) -> void (*)(const Block&) {
  if constexpr (T == 1)
    return multiply<F, 1>;
  else
    return tokens == T ? multiply<F, T> : pick_multiply<F, T - 1>(tokens);
}

template <Family F>
void matmul_of(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out, int64_t stride) {
  constexpr FamilyTraits kTraits = traits(F);
  const auto* activations = static_cast<const ActivationTile*>(x.data);
  const int64_t tiles = w.cols / kTileCols;
  const int64_t step = x.tokens == 1 ? tiles : kBlockChunks * kChunkTiles;
  Block b{};
  b.stride = stride;
  b.tiles = tiles;
  b.table = _mm256_xor_si256(_mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w.table))),
                             _mm256_set1_epi8(-128));
  for (b.from = 0; b.from < tiles; b.from += step) {
    b.to = b.from + step < tiles ? b.from + step : tiles;
    const uint64_t offset = static_cast<uint64_t>(b.from / kChunkTiles * chunk_bytes(kTraits, kChunkTiles));
    for (int64_t row = begin * kPanelRows; row < end * kPanelRows && row < w.rows; row += kHalfRows) {
      const int left = w.rows - row < kHalfRows ? static_cast<int>(w.rows - row) : kHalfRows;
      b.rows = _mm256_cmpgt_epi32(_mm256_set1_epi32(left), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
      b.half = static_cast<int>(row / kHalfRows % 2);
      b.chunk = w.data + static_cast<uint64_t>(row / kPanelRows) * w.panel_bytes + offset;
      for (int64_t token = 0; token < x.tokens; token += kTokens) {
        const int tokens = x.tokens - token < kTokens ? static_cast<int>(x.tokens - token) : kTokens;
        b.x = activations + token * tiles + b.from * tokens;
        b.out = out + token * stride + row;
        pick_multiply<F, kTokens>(tokens)(b);
      }
    }
  }
}

}  // namespace

const int kCodeGroup = kTokens;

void matmul_codes(const PackedView& w, int64_t begin, int64_t end, const ActivationView& x, float* out,
                  int64_t out_stride) {
  switch (w.family) {
    case Family::S4:
      return matmul_of<Family::S4>(w, begin, end, x, out, out_stride);
    case Family::M4:
      return matmul_of<Family::M4>(w, begin, end, x, out, out_stride);
    case Family::T4:
      return matmul_of<Family::T4>(w, begin, end, x, out, out_stride);
    case Family::S5:
      return matmul_of<Family::S5>(w, begin, end, x, out, out_stride);
    case Family::M5:
      return matmul_of<Family::M5>(w, begin, end, x, out, out_stride);
    case Family::S8:
      return matmul_of<Family::S8>(w, begin, end, x, out, out_stride);
    case Family::K2:
      return matmul_of<Family::K2>(w, begin, end, x, out, out_stride);
    case Family::K3:
      return matmul_of<Family::K3>(w, begin, end, x, out, out_stride);
    case Family::K4:
      return matmul_of<Family::K4>(w, begin, end, x, out, out_stride);
    case Family::TK4:
      return matmul_of<Family::TK4>(w, begin, end, x, out, out_stride);
    case Family::K5:
      return matmul_of<Family::K5>(w, begin, end, x, out, out_stride);
    case Family::K6:
      return matmul_of<Family::K6>(w, begin, end, x, out, out_stride);
    case Family::F32:
    case Family::F16:
    case Family::BF16:
      return;
  }
}

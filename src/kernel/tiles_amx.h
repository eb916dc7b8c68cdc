// The tile registers of AMX, by assembler: GCC 12's intrinsics tell the compiler too little of what they read and write
// (of 64 bytes that configure tiles 8, of what is loaded nothing). Included inside the namespace of the instruction
// set. Tile registers are numbered 0 to 7; a row of one is up to 64 bytes, rows follow one another `stride` bytes
// apart.

namespace {

/// Sets the shapes that `shapes` gives, and clears all tiles.
LOWBIT_INLINE void set_shapes(const TileShapes& shapes) { asm volatile("ldtilecfg %0" ::"m"(shapes) : "memory"); }
/// Gives the tiles back: threads that hold none are switched faster.
LOWBIT_INLINE void release_tiles() { asm volatile("tilerelease" ::: "memory"); }

template <int kTile>
LOWBIT_INLINE void load_tile(const void* rows, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(rows), "r"(stride), "i"(kTile),
               "m"(*static_cast<const uint8_t(*)[1024]>(rows)));
}
template <int kTile>
LOWBIT_INLINE void store_tile(void* rows, int64_t stride) {
  asm volatile("tilestored %%tmm%c3, (%1,%2,1)"
               : "=m"(*static_cast<uint8_t(*)[1024]>(rows))
               : "r"(rows), "r"(stride), "i"(kTile));
}
template <int kTile>
LOWBIT_INLINE void clear_tile() {
  asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
}
/// to[m][n] += sum over k of the four products a[m][4k..] * b[k][4n..] of signed bytes; to is of int32.
template <int kTo, int kA, int kB>
LOWBIT_INLINE void add_tile_product() {
  asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kTo), "i"(kA), "i"(kB));
}

}  // namespace

#include "quantize/encode.h"

#include <algorithm>

#include "quantize/assign/nearest.h"
#include "quantize/search/reference.h"
#include "quantize/search/search.h"

namespace lowbit {

void encode_rows(const Encoding& encoding, Search search, const float* weights, int64_t rows, int64_t cols,
                 const float* importance, std::byte* out) {
  if (search == Search::Reference) return encode_reference(encoding, weights, rows * cols, out);
  const int64_t per_row = cols / encoding.block, blocks = rows * per_row;
  const int width = batch_blocks(encoding);
  BlockBatch batch;
  const float *x[kLanes], *weight[kLanes];
  BlockHeader headers[kLanes];
  uint8_t codes[kLanes * kMaxSubBlock];
  for (int64_t first = 0; first < blocks; first += width) {
    const int count = static_cast<int>(std::min<int64_t>(width, blocks - first));
    for (int b = 0; b < count; ++b) {
      x[b] = weights + (first + b) * encoding.block;
      weight[b] = importance != nullptr ? importance + (first + b) % per_row * encoding.block : nullptr;
    }
    gather(encoding, x, importance != nullptr ? weight : nullptr, count, batch);
    search_headers(batch, headers);
    assign_nearest(batch, headers, codes);
    for (int b = 0; b < count; ++b, out += encoding.block_bytes) {
      encoding.pack(headers[b], codes + b * encoding.block, out);
    }
  }
}

}  // namespace lowbit

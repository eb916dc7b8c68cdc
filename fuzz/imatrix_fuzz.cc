#include <cmath>

#include "container/imatrix.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lowbit;
  return fuzz([&] {
    const ImportanceMatrix matrix = parse_imatrix(as_file(data, size), "fuzz.imatrix");
    for (const auto& [name, entry] : matrix.entries) {
      require(entry.mean_square().size() == entry.sums.size() && entry.sums.size() % entry.counts.size() == 0);
      for (const float x : entry.sums) require(std::isfinite(x) && x >= 0);
    }
    ImportanceMatrix twice = matrix;
    twice.combine(matrix);
    require(twice.entries.size() == matrix.entries.size());
  });
}

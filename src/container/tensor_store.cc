#include "container/tensor_store.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "container/checks.h"

namespace lowbit {

int64_t TensorInfo::elements() const {
  int64_t count = 1;
  for (const int64_t dimension : shape) count *= dimension;
  return count;
}

const TensorInfo* TensorStore::find(std::string_view name) const {
  const auto found = index_.find(std::string(name));
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

const TensorInfo& TensorStore::at(std::string_view name) const {
  const TensorInfo* tensor = find(name);
  if (tensor == nullptr) fail("{}: tensor {} is missing", where_, shown(name));
  return *tensor;
}

void TensorStore::add(TensorInfo tensor) {
  if (!index_.emplace(tensor.name, tensors_.size()).second) {
    fail("{}: tensor {} occurs twice; the file is corrupt", where_, shown(tensor.name));
  }
  tensors_.push_back(std::move(tensor));
}

size_t TensorStore::index_of(const TensorInfo& tensor) const {
  return static_cast<size_t>(&at(tensor.name) - tensors_.data());
}

size_t MappedStore::add_file(MappedFile file) {
  files_.push_back(std::move(file));
  return files_.size() - 1;
}

void MappedStore::add(TensorInfo tensor, size_t file, uint64_t offset) {
  TensorStore::add(std::move(tensor));
  places_.push_back({file, offset});
}

std::span<const std::byte> MappedStore::data(const TensorInfo& tensor) const {
  const size_t index = index_of(tensor);
  return files_[places_[index].file].bytes().subspan(places_[index].offset, tensors()[index].bytes);
}

void MappedStore::read(const TensorInfo& tensor, uint64_t offset, std::span<std::byte> out) const {
  const size_t index = index_of(tensor);
  const uint64_t bytes = tensors()[index].bytes;
  if (offset > bytes || out.size() > bytes - offset) {
    fail("{}: tensor {} has {} bytes, not {} to {}", where_, shown(tensor.name), bytes, offset, offset + out.size());
  }
  files_[places_[index].file].read(places_[index].offset + offset, out);
}

std::vector<std::filesystem::path> MappedStore::files() const {
  std::vector<std::filesystem::path> out;
  for (const MappedFile& file : files_) out.push_back(file.path());
  return out;
}

void MappedStore::drop(const TensorInfo& tensor) const {
  const size_t index = index_of(tensor);
  files_[places_[index].file].drop(places_[index].offset, tensors()[index].bytes);
}

void TensorSlots::add(std::string name, uint64_t offset, uint64_t bytes) {
  slots_.push_back({std::move(name), offset, bytes});
  total_ += bytes;
}

uint64_t TensorSlots::place(size_t tensor, uint64_t offset, uint64_t count) {
  const Slot& slot = slots_.at(tensor);
  if (offset > slot.bytes || count > slot.bytes - offset) {
    fail("tensor {} has {} bytes: {} to {} cannot be written", shown(slot.name), slot.bytes, offset, offset + count);
  }
  written_ += count;
  return slot.offset + offset;
}

void TensorSlots::check_complete(std::string_view where) const {
  if (written_ != total_) fail("{}: {} bytes of tensors were to be written, {} came", where, total_, written_.load());
}

void restore_columns(std::span<const int32_t> column_order, int64_t count, float* rows) {
  if (column_order.empty()) return;
  std::vector<float> row(column_order.size());
  for (int64_t r = 0; r < count; ++r, rows += row.size()) {
    std::copy_n(rows, row.size(), row.begin());
    for (size_t c = 0; c < row.size(); ++c) rows[column_order[c]] = row[c];
  }
}

void read_rows(const TensorStore& store, const TensorInfo& tensor, int64_t begin, int64_t count, float* out) {
  if (tensor.encoding->kind == EncodingKind::Raw) {
    fail("{}: tensor {} is {}, which is no weight", store.where(), shown(tensor.name), tensor.encoding->name);
  }
  if (begin < 0 || count < 0 || begin > tensor.rows() || count > tensor.rows() - begin) {
    fail("{}: tensor {} has {} rows, not {} to {}", store.where(), shown(tensor.name), tensor.rows(), begin,
         begin + count);
  }
  const uint64_t row_bytes = tensor.encoding->bytes(static_cast<uint64_t>(tensor.cols()));
  if (row_bytes == 0) return;
  const int64_t at_once =
      std::clamp<int64_t>((int64_t{1} << 20) / static_cast<int64_t>(row_bytes), 1, std::max<int64_t>(count, 1));
  std::vector<std::byte> buffer(row_bytes * static_cast<uint64_t>(at_once));
  for (int64_t row = 0; row < count; row += at_once) {
    const int64_t rows = std::min(at_once, count - row);
    const auto bytes = std::span(buffer).first(row_bytes * static_cast<uint64_t>(rows));
    store.read(tensor, row_bytes * static_cast<uint64_t>(begin + row), bytes);
    decode(*tensor.encoding, bytes.data(), rows * tensor.cols(), out + row * tensor.cols());
    restore_columns(tensor.column_order(), rows, out + row * tensor.cols());
  }
}

}  // namespace lowbit

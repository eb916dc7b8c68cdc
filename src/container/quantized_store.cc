#include "container/quantized_store.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <unordered_set>

#include "base/error.h"
#include "base/large_pages.h"
#include "container/checks.h"

namespace lowbit {
namespace {

constexpr size_t kRecent = 2;  // whoever streams through a model reads one matrix after another

/// See StoredAs::group.
int64_t neighbours(const GroupModule& m) {
  if (m.format.span == GroupSpan::Strided || !m.group_of_column.empty()) return 0;
  if (m.format.span == GroupSpan::Tensor || m.format.group == 0) return m.cols;
  // A row may begin and end within a flat group.
  return m.format.span == GroupSpan::Flat ? std::gcd(m.format.group, m.cols) : m.format.group;
}

}  // namespace

std::string describe(std::string_view dialect, const GroupModule& module) {
  const GroupFormat& f = module.format;
  std::string out = std::string(dialect) + " ";
  out += f.levels == GroupLevels::NF4 ? "NF4" : f.levels == GroupLevels::FP4 ? "FP4" : fmt::format("{}-bit", f.bits);
  if (f.span == GroupSpan::Tensor) {
    out += ", one scale";
  } else {
    out += f.group == 0 ? ", a scale a row" : fmt::format(", groups of {}", f.group);
  }
  if (f.doubly_quantized) out += ", doubly quantized";
  if (f.zero != GroupZero::Fixed) out += ", zero points";
  return out + (module.group_of_column.empty() ? "" : ", activation order");
}

QuantizedStore::QuantizedStore(std::unique_ptr<TensorStore> pieces, std::unique_ptr<Dialect> dialect)
    : pieces_(std::move(pieces)), dialect_(std::move(dialect)) {
  where_ = pieces_->where();
  std::unordered_set<std::string> consumed;
  const std::vector<GroupModule> modules = dialect_->modules(*pieces_);
  std::unordered_map<std::string, size_t> module_at;
  for (size_t i = 0; i < modules.size(); ++i) {
    for (const std::string& name : modules[i].tensors) {
      if (!consumed.insert(name).second) fail("{}: tensor {} is of two modules", where_, shown(name));
    }
    module_at[modules[i].tensors.front()] = i;
  }
  for (const TensorInfo& tensor : pieces_->tensors()) {
    if (!consumed.contains(tensor.name)) {
      add(tensor);
      continue;
    }
    const auto found = module_at.find(tensor.name);
    if (found == module_at.end()) continue;
    const GroupModule& m = modules[found->second];
    Module module{m, lowering_of(m.format, m.rows, m.cols, m.group_of_column)};
    auto stored = std::make_shared<StoredAs>();
    stored->format = describe(dialect_->name(), m);
    stored->column_order = module.lowering.column_order;
    stored->inputs = m.inputs;
    stored->group = neighbours(m);
    for (const std::string& name : m.tensors) stored->bytes += pieces_->at(name).bytes;
    TensorInfo info;
    info.name = m.name + ".weight";
    info.shape = {m.rows, m.cols};
    info.encoding = module.lowering.encoding;
    info.bytes = checked_bytes(info, where_);
    info.stored = std::move(stored);
    modules_.emplace(info.name, std::move(module));
    add(std::move(info));
  }
}

const QuantizedStore::Module* QuantizedStore::module_of(const TensorInfo& tensor) const {
  const auto found = modules_.find(tensor.name);
  return found == modules_.end() ? nullptr : &found->second;
}

GroupMatrix QuantizedStore::matrix(const TensorInfo& tensor) const {
  const Module* module = module_of(tensor);
  if (module == nullptr) throw std::logic_error("a tensor that is not quantized");
  return dialect_->read(*pieces_, module->module);
}

QuantizedStore::Bytes QuantizedStore::lower(const TensorInfo& tensor, const Module& module) const {
  auto bytes = std::make_shared<std::vector<std::byte>>(large_vector<std::byte>(tensor.bytes));
  const GroupMatrix matrix = dialect_->read(*pieces_, module.module);
  lower_rows(matrix, module.lowering, 0, matrix.rows, where_ + ": tensor " + shown(tensor.name), bytes->data());
  return bytes;
}

/// With mutex_ held.
QuantizedStore::Bytes QuantizedStore::lowered(const TensorInfo& tensor, const Module& module) const {
  if (const auto held = held_.find(tensor.name); held != held_.end()) return held->second;
  const auto same = [&](const auto& entry) { return entry.first == tensor.name; };
  const auto found = std::find_if(recent_.begin(), recent_.end(), same);
  if (found != recent_.end()) {
    recent_.splice(recent_.begin(), recent_, found);
    return found->second;
  }
  recent_.emplace_front(tensor.name, lower(tensor, module));
  if (recent_.size() > kRecent) recent_.pop_back();
  return recent_.front().second;
}

std::span<const std::byte> QuantizedStore::data(const TensorInfo& tensor) const {
  const Module* module = module_of(tensor);
  if (module == nullptr) return pieces_->data(piece(tensor));
  const std::lock_guard lock(mutex_);
  if (const auto held = held_.find(tensor.name); held != held_.end()) return *held->second;
  return *held_.emplace(tensor.name, lower(tensor, *module)).first->second;
}

void QuantizedStore::read(const TensorInfo& tensor, uint64_t offset, std::span<std::byte> out) const {
  const Module* module = module_of(tensor);
  if (module == nullptr) return pieces_->read(piece(tensor), offset, out);
  Bytes bytes;
  {
    const std::lock_guard lock(mutex_);
    bytes = lowered(tensor, *module);
  }
  if (offset > bytes->size() || out.size() > bytes->size() - offset) {
    fail("{}: tensor {} has {} bytes, not {} to {}", where_, shown(tensor.name), bytes->size(), offset,
         offset + out.size());
  }
  std::memcpy(out.data(), bytes->data() + offset, out.size());
}

void QuantizedStore::drop(const TensorInfo& tensor) const {
  const Module* module = module_of(tensor);
  if (module == nullptr) return pieces_->drop(piece(tensor));
  for (const std::string& name : module->module.tensors) pieces_->drop(pieces_->at(name));
  const std::lock_guard lock(mutex_);
  held_.erase(tensor.name);
}

void QuantizedStore::prepare(std::span<const TensorInfo* const> tensors, ThreadPool& pool) const {
  std::vector<Bytes> made(tensors.size());
  pool.run(static_cast<int64_t>(tensors.size()), [&](int64_t i, int) {
    const TensorInfo& tensor = *tensors[static_cast<size_t>(i)];
    if (const Module* module = module_of(tensor)) made[static_cast<size_t>(i)] = lower(tensor, *module);
  });
  const std::lock_guard lock(mutex_);
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (made[i] != nullptr) held_[tensors[i]->name] = std::move(made[i]);
  }
}

}  // namespace lowbit

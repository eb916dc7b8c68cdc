#include "quantize/layerwise/journal.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMagic = "lowbit journal 1\n";
constexpr uint64_t kStepLimit = uint64_t{1} << 40;

/// Appends numbers and blobs.
class Packer {
 public:
  template <typename T>
  void number(T value) {
    const auto* bytes = reinterpret_cast<const std::byte*>(&value);
    out.insert(out.end(), bytes, bytes + sizeof value);
  }
  void blob(const void* data, size_t size) {
    number<uint64_t>(size);
    const auto* bytes = static_cast<const std::byte*>(data);
    out.insert(out.end(), bytes, bytes + size);
  }
  void text(std::string_view s) { blob(s.data(), s.size()); }
  std::vector<std::byte> out;
};

/// Takes them apart again; `good` turns false where the bytes end too early.
class Unpacker {
 public:
  explicit Unpacker(std::string_view bytes) : rest_(bytes) {}
  template <typename T>
  T number() {
    T value{};
    if (rest_.size() < sizeof value) {
      good = false;
      return value;
    }
    std::memcpy(&value, rest_.data(), sizeof value);
    rest_.remove_prefix(sizeof value);
    return value;
  }
  std::string_view blob() {
    const auto size = number<uint64_t>();
    if (size > rest_.size()) good = false;
    const std::string_view out = good ? rest_.substr(0, size) : std::string_view();
    rest_.remove_prefix(out.size());
    return out;
  }
  bool good = true;

 private:
  std::string_view rest_;
};

std::vector<std::byte> packed(std::string_view key, const JournalStep& step) {
  Packer p;
  p.text(key);
  p.number<uint64_t>(step.pieces.size());
  for (const JournalPiece& piece : step.pieces) {
    p.number(piece.id.role);
    p.number<int32_t>(piece.id.layer);
    p.number<uint8_t>(piece.id.bias);
    p.number(piece.first_row);
    p.blob(piece.bytes.data(), piece.bytes.size());
  }
  p.number<uint64_t>(step.reports.size());
  for (const MatrixReport& r : step.reports) {
    p.text(r.tensor);
    p.text(r.encoding);
    p.number(r.error);
    p.number(r.damping);
    p.number<uint8_t>(r.fell_back);
    p.number(r.seconds);
  }
  return std::move(p.out);
}

/// Nothing if the key is another, or the bytes are not whole. An empty `step` is filled.
enum class Content : uint8_t { Good, Foreign, Damaged };
Content unpack(std::string_view bytes, std::string_view key, JournalStep& step) {
  if (!bytes.starts_with(kMagic)) return Content::Foreign;
  bytes.remove_prefix(kMagic.size());
  uint64_t hash = 0;
  if (bytes.size() < sizeof hash) return Content::Damaged;
  std::memcpy(&hash, bytes.data(), sizeof hash);
  bytes.remove_prefix(sizeof hash);
  if (hash != fnv1a64(bytes)) return Content::Damaged;
  Unpacker u(bytes);
  if (u.blob() != key) return Content::Foreign;
  const auto pieces = u.number<uint64_t>();
  for (uint64_t i = 0; i < pieces && u.good; ++i) {
    JournalPiece& piece = step.pieces.emplace_back();
    piece.id.role = u.number<Role>();
    piece.id.layer = u.number<int32_t>();
    piece.id.bias = u.number<uint8_t>() != 0;
    piece.first_row = u.number<int64_t>();
    const std::string_view blob = u.blob();
    const auto* begin = reinterpret_cast<const std::byte*>(blob.data());
    piece.bytes.assign(begin, begin + blob.size());
  }
  const auto reports = u.number<uint64_t>();
  for (uint64_t i = 0; i < reports && u.good; ++i) {
    MatrixReport& r = step.reports.emplace_back();
    r.tensor = u.blob();
    r.encoding = u.blob();
    r.error = u.number<double>();
    r.damping = u.number<double>();
    r.fell_back = u.number<uint8_t>() != 0;
    r.seconds = u.number<double>();
  }
  return u.good ? Content::Good : Content::Damaged;
}

}  // namespace

Journal::Journal(fs::path folder, std::string key) : folder_(std::move(folder)), key_(std::move(key)) {
  std::error_code code;
  if (!fs::is_regular_file(file(0), code)) return;
  JournalStep ignored;
  const Content first = unpack(read_text_file(file(0), kStepLimit), key_, ignored);
  foreign_ = first == Content::Foreign;
  while (first == Content::Good && fs::is_regular_file(file(finished_), code)) ++finished_;
}

fs::path Journal::file(int step) const { return folder_ / fmt::format("step-{:04}", step); }

std::optional<JournalStep> Journal::read(int step) const {
  std::error_code code;
  if (!fs::is_regular_file(file(step), code)) return std::nullopt;
  JournalStep out;
  if (unpack(read_text_file(file(step), kStepLimit), key_, out) != Content::Good) return std::nullopt;
  return out;
}

void Journal::write(int step, const JournalStep& content) {
  if (step == 0) remove();
  std::error_code code;
  fs::create_directories(folder_, code);
  if (code) fail("{}: cannot be made for the journal: {}", folder_.string(), code.message());
  const std::vector<std::byte> body = packed(key_, content);
  const uint64_t hash = fnv1a64({reinterpret_cast<const char*>(body.data()), body.size()});
  AtomicFile out(file(step));
  out.write(0, std::as_bytes(std::span(kMagic)));
  out.write(kMagic.size(), std::as_bytes(std::span(&hash, 1)));
  out.write(kMagic.size() + sizeof hash, body);
  out.finish();
}

void Journal::remove() const {
  std::error_code code;
  fs::remove_all(folder_, code);
}

std::string files_key(const fs::path& model) {
  std::vector<std::string> lines;
  const auto add = [&](const fs::path& path) {
    std::error_code code;
    const auto time = fs::last_write_time(path, code).time_since_epoch();
    lines.push_back(fmt::format("{} {} {}\n", path.filename().string(), fs::file_size(path, code),
                                std::chrono::duration_cast<std::chrono::nanoseconds>(time).count()));
  };
  if (fs::is_directory(model)) {
    for (const fs::directory_entry& entry : fs::directory_iterator(model)) {
      if (entry.is_regular_file()) add(entry.path());
    }
  } else {
    add(model);
  }
  std::sort(lines.begin(), lines.end());
  std::string out = fs::weakly_canonical(model).string() + "\n";
  for (const std::string& line : lines) out += line;
  return out;
}

}  // namespace lowbit

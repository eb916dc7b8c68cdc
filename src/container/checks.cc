#include "container/checks.h"

#include <utf8proc.h>

#include <algorithm>

#include "base/error.h"

namespace lowbit {
namespace {

/// The code point at the start of `text`, or -1; `length` becomes the bytes it takes (at least 1).
int32_t next_code_point(std::string_view text, size_t& length) {
  utf8proc_int32_t point = -1;
  const auto bytes = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                      static_cast<utf8proc_ssize_t>(std::min<size_t>(text.size(), 4)), &point);
  length = bytes > 0 ? static_cast<size_t>(bytes) : 1;
  return bytes > 0 ? point : -1;
}

/// Control characters, and the separators that end a line.
bool is_control(int32_t point) {
  return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0x2028 || point == 0x2029;
}

}  // namespace

std::string shown(std::string_view name) {
  constexpr size_t kLongest = 120;
  std::string out;
  for (size_t i = 0, length = 0; i < name.size(); i += length) {
    if (i >= kLongest) return out + "...";
    if (is_control(next_code_point(name.substr(i), length))) {
      for (size_t j = i; j < i + length; ++j) out += fmt::format("\\x{:02x}", static_cast<unsigned char>(name[j]));
    } else {
      out += name.substr(i, length);
    }
  }
  return out;
}

void check_name(std::string_view name, std::string_view what, std::string_view where) {
  if (name.empty()) fail("{}: the name of {} is empty; the file is corrupt", where, what);
  for (size_t i = 0, length = 0; i < name.size(); i += length) {
    if (is_control(next_code_point(name.substr(i), length))) {
      fail("{}: the name of {}, \"{}\", is not printable UTF-8; the file is corrupt", where, what, shown(name));
    }
  }
}

uint64_t checked_bytes(const TensorInfo& tensor, std::string_view where) {
  const Encoding& encoding = *tensor.encoding;
  uint64_t elements = 1;
  bool empty = false;
  for (const int64_t dimension : tensor.shape) {
    if (dimension < 0) fail("{}: tensor {} has the dimension {}", where, shown(tensor.name), dimension);
    empty = empty || dimension == 0;
    if (dimension != 0 && (__builtin_mul_overflow(elements, static_cast<uint64_t>(dimension), &elements) ||
                           elements > static_cast<uint64_t>(INT64_MAX))) {
      fail("{}: tensor {} has more than 2^63 elements; the file is corrupt", where, shown(tensor.name));
    }
  }
  if (tensor.cols() % encoding.block != 0) {
    fail("{}: tensor {} has rows of {}, which is no multiple of {}'s block of {}", where, shown(tensor.name),
         tensor.cols(), encoding.name, encoding.block);
  }
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(elements / static_cast<uint64_t>(encoding.block),
                             static_cast<uint64_t>(encoding.block_bytes), &bytes) ||
      bytes > static_cast<uint64_t>(INT64_MAX)) {
    fail("{}: tensor {} has more than 2^63 bytes; the file is corrupt", where, shown(tensor.name));
  }
  return empty ? 0 : bytes;
}

void fail_wrong_format(std::span<const std::byte> file, std::string_view format, std::string_view where) {
  const std::string_view begin(reinterpret_cast<const char*>(file.data()), std::min<size_t>(file.size(), 64));
  if (begin.empty()) fail("{}: is empty; download or write it again", where);
  if (begin.starts_with("version https://git-lfs")) {
    fail("{}: is a git-lfs pointer, not the weights; run `git lfs pull` in its folder to fetch them", where);
  }
  if (begin.starts_with("PK\x03\x04") || begin.starts_with("\x80\x02")) {
    fail("{}: is a PyTorch pickle, which is never loaded because it can run code; convert the model to safetensors",
         where);
  }
  if (begin.starts_with("GGUF")) fail("{}: is a GGUF file, not {}", where, format);
  if (begin.starts_with("<!DOCTYPE") || begin.starts_with("<html")) {
    fail("{}: is a web page, not {}; the download went wrong", where, format);
  }
  fail("{}: is not {}: it begins with \"{}\"", where, format, shown(begin.substr(0, 8)));
}

}  // namespace lowbit

// What all kinds of files have in common. For base/ alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace lowbit {

/// Beyond the process's file size limit a write should fail, as on a full disk, not kill the process.
void ignore_file_size_signal();

// All bytes, or an Error that says `name`.
void read_all(int fd, const std::string& name, uint64_t offset, std::span<std::byte> out);
void write_all(int fd, const std::string& name, uint64_t offset, std::span<const std::byte> bytes);
/// Makes the file `size` bytes long, their disk space reserved.
void reserve_space(int fd, const std::string& name, uint64_t size);

}  // namespace lowbit

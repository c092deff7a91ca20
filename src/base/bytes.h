// Little-endian loads and stores at byte offsets: on-disk structures are never cast.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace pgrejoin {

static_assert(std::endian::native == std::endian::little,
              "PostgreSQL files are in the byte order of the server; only little endian is built");

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

template <typename T>
T LoadLe(Bytes bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.subspan(offset, sizeof(T)).data(), sizeof(T));
  return value;
}
inline uint8_t LoadU8(Bytes bytes, size_t offset) { return LoadLe<uint8_t>(bytes, offset); }
inline uint16_t LoadLe16(Bytes bytes, size_t offset) { return LoadLe<uint16_t>(bytes, offset); }
inline uint32_t LoadLe32(Bytes bytes, size_t offset) { return LoadLe<uint32_t>(bytes, offset); }
inline uint64_t LoadLe64(Bytes bytes, size_t offset) { return LoadLe<uint64_t>(bytes, offset); }

template <typename T>
void StoreLe(MutableBytes bytes, size_t offset, T value) {
  std::memcpy(bytes.subspan(offset, sizeof(T)).data(), &value, sizeof(T));
}

inline Bytes AsBytes(std::string_view text) { return std::as_bytes(std::span(text)); }
inline std::string_view AsText(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string ToHex(Bytes bytes);
// False for an odd length or a character that is no hexadecimal digit.
bool FromHex(std::string_view hex, std::string* out);

}  // namespace pgrejoin

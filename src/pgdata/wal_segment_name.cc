#include "pgdata/wal_segment_name.h"

#include <cinttypes>
#include <cstdio>

namespace pgrejoin {
namespace {

std::optional<uint32_t> ParseHex8(std::string_view digits) {
  uint32_t value = 0;
  for (const char c : digits) {
    uint32_t digit;
    if (c >= '0' && c <= '9') {
      digit = static_cast<uint32_t>(c - '0');
    } else if (c >= 'A' && c <= 'F') {
      digit = static_cast<uint32_t>(c - 'A' + 10);
    } else {
      return std::nullopt;
    }
    value = value * 16 + digit;
  }
  return value;
}

}  // namespace

std::optional<WalSegmentName> WalSegmentName::Parse(std::string_view name) {
  if (name.size() != kLength) return std::nullopt;
  const auto tli = ParseHex8(name.substr(0, 8));
  if (!tli || *tli == 0 || !ParseHex8(name.substr(8, 8)) || !ParseHex8(name.substr(16, 8))) {
    return std::nullopt;
  }
  return WalSegmentName{*tli, 0};
}

std::optional<WalSegmentName> WalSegmentName::Parse(std::string_view name,
                                                    uint32_t wal_segment_size) {
  auto parsed = Parse(name);
  if (!parsed) return std::nullopt;
  const uint64_t segments_per_id = (uint64_t{1} << 32) / wal_segment_size;
  const uint64_t high = *ParseHex8(name.substr(8, 8));
  const uint64_t low = *ParseHex8(name.substr(16, 8));
  if (low >= segments_per_id) return std::nullopt;
  parsed->segment = high * segments_per_id + low;
  return parsed;
}

std::string WalSegmentName::ToString(uint32_t wal_segment_size) const {
  const uint64_t segments_per_id = (uint64_t{1} << 32) / wal_segment_size;
  char name[kLength + 20];
  std::snprintf(name, sizeof(name), "%08X%08" PRIX64 "%08" PRIX64, tli, segment / segments_per_id,
                segment % segments_per_id);
  return name;
}

}  // namespace pgrejoin

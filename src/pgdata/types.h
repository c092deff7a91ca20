// The small nouns of PostgreSQL that every folder speaks.
// Lsn: XLogRecPtr (src/include/access/xlogdefs.h); RelFileLocator
// (src/include/storage/relfilelocator.h).
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace pgrejoin {

// A position in the WAL, in bytes since the beginning of time. 0 is "no position".
struct Lsn {
  uint64_t value = 0;

  constexpr bool valid() const { return value != 0; }
  constexpr auto operator<=>(const Lsn&) const = default;
  constexpr Lsn operator+(uint64_t bytes) const { return {value + bytes}; }
  constexpr uint64_t operator-(Lsn other) const { return value - other.value; }

  // "%X/%X", as every PostgreSQL before 19 prints it.
  std::string ToString() const;
  // Strict: hexadecimal digits, one slash, at most eight digits a side, nothing else.
  static std::optional<Lsn> Parse(std::string_view text);
};

using TimelineId = uint32_t;
using BlockNumber = uint32_t;
using Oid = uint32_t;
using TransactionId = uint32_t;

constexpr Oid kDefaultTablespaceOid = 1663;
constexpr Oid kGlobalTablespaceOid = 1664;

// Names one relation's storage. database is 0 for shared relations.
struct RelFileLocator {
  Oid tablespace = 0;
  Oid database = 0;
  Oid number = 0;

  auto operator<=>(const RelFileLocator&) const = default;
  std::string ToString() const;  // "1663/5/16384"
};

enum class ForkNumber : uint8_t { kMain = 0, kFsm = 1, kVisibilityMap = 2, kInit = 3 };

}  // namespace pgrejoin

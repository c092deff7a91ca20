// Reading below a directory that somebody else may have filled.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/unique_fd.h"

namespace pgrejoin {

// Opens path, which is relative, below the directory root: no symbolic link is followed in any of
// its parts and nothing above root is reached (openat2 with RESOLVE_BENEATH and
// RESOLVE_NO_SYMLINKS). The descriptor is closed on exec. Invalid with errno set when that fails.
UniqueFd OpenBeneath(int root, const std::string& path, int flags, mode_t mode);

// From where the file is read next to its end, but no more than bytes_max + 1 bytes, so that the
// caller sees when it is longer. nullopt with errno set when reading fails.
std::optional<std::string> ReadUpTo(const UniqueFd& fd, size_t bytes_max);

// Fills out from offset on; how many bytes there are, fewer at the end of the file. nullopt with
// errno set when reading fails.
std::optional<size_t> ReadAt(const UniqueFd& fd, uint64_t offset, MutableBytes out);

// What the symbolic link name in directory leads to; empty when that cannot be told.
std::string ReadLinkAt(int directory, const char* name);

}  // namespace pgrejoin

// A small text beside the data directory, on its volume: "<pgdata><suffix>". For what must outlive
// the pod and is none of the server's business: a base backup of the directory does not take it
// along.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "target/directory_lock.h"

namespace pgrejoin {

inline constexpr size_t kSideFileBytesMax = 8192;

// Durable, and whole or not at all. Throws Error(kTargetFailed).
void WriteSideFile(const DirectoryLock& lock, std::string_view suffix, const std::string& text);

// nullopt: there is none. Throws Error(kTargetFailed) where it cannot be read or is too long.
std::optional<std::string> ReadSideFile(const DirectoryLock& lock, std::string_view suffix);

void RemoveSideFile(const DirectoryLock& lock, std::string_view suffix);

}  // namespace pgrejoin

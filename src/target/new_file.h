// Small files of ours outside of the data directory: beside it, and below emptyDirs.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "base/unique_fd.h"

namespace pgrejoin {

// Makes the file and writes all of the content; what lies there under this name, a link as well, is
// removed first. Neither durable nor renamed yet, which is the caller's. Invalid with errno set
// when that fails.
UniqueFd WriteNewFile(const std::string& path, std::string_view content, mode_t mode);

}  // namespace pgrejoin

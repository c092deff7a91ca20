// The source's control file, read while the server rewrites it under our eyes.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "pgdata/control_file.h"

namespace pgrejoin {

// read returns the content of global/pg_control. A torn read has a wrong checksum and is repeated;
// throws Error(kNotRewindable) when it does not become right.
ControlFile ReadSourceControl(const std::function<std::optional<std::string>()>& read);

}  // namespace pgrejoin

// What a setting is in the target's configuration files, read as its server would read them,
// without starting one.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace pgrejoin {

// The last value that config_file (empty: postgresql.conf of pgdata), the files that it includes,
// and then postgresql.auto.conf of pgdata give to name, which is in lower case. nullopt: none does.
// Throws Error(kUsage) for a file that is not there or is malformed, and where a server would
// refuse an include.
std::optional<std::string> ReadTargetSetting(const std::string& pgdata,
                                             const std::string& config_file, std::string_view name);

}  // namespace pgrejoin

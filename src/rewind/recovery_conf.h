// The settings with which the target follows its source: postgresql.auto.conf and standby.signal.
#pragma once

#include <string>
#include <string_view>

#include "target/target_directory.h"

namespace pgrejoin {

// content with primary_conninfo set, and without any recovery_target of an earlier life, which
// would stop the standby. An equal setting leaves the text as it is.
std::string WithPrimaryConninfo(std::string_view content, const std::string& primary_conninfo);

// Throws Error(kNotRewindable) where WriteRecoveryConf() would fail.
void PreviewRecoveryConf(const TargetDirectory& target, const std::string& primary_conninfo);

// Changes only what differs. Durable when it returns.
void WriteRecoveryConf(TargetDirectory& target, const std::string& primary_conninfo,
                       bool create_standby_signal);

}  // namespace pgrejoin

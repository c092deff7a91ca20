// The syntax of postgresql.conf: src/backend/utils/misc/guc-file.l. One setting a line, NAME [=]
// VALUE, names without regard to case, # begins a comment. What a setting means, and that include,
// include_if_exists and include_dir are no settings, is the reader's matter
// (target/target_settings.h).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pgrejoin {

struct GucLine {
  std::string name;   // lower case, as guc_name_compare() folds: ASCII letters only
  std::string value;  // without quotes and escapes
};

// In the order of the file. Throws Error(kUsage) that names file and line where a server would find
// a syntax error.
std::vector<GucLine> ParseGucFile(std::string_view content, std::string_view file_name);

}  // namespace pgrejoin

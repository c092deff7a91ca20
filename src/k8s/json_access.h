// Typed access to JSON that others wrote. Parsing never throws nlohmann's exceptions; a wrong type
// is an Error(kUnavailable) that names the path, an absent member is nullptr or a default.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace pgrejoin {

// what names the text in messages ("pod x-0").
nlohmann::json ParseJson(std::string_view text, std::string_view what);

// path: members separated by '/', as "metadata/labels". nullptr when absent or null; throws when
// something on the way is no object.
const nlohmann::json* FindMember(const nlohmann::json& object, std::string_view path);

std::string StringAt(const nlohmann::json& object, std::string_view path);  // "" when absent
bool BoolAt(const nlohmann::json& object, std::string_view path, bool when_absent);
// {} when absent. Values must be strings.
std::map<std::string, std::string> StringMapAt(const nlohmann::json& object, std::string_view path);
// An empty array when absent.
const nlohmann::json& ArrayAt(const nlohmann::json& object, std::string_view path);

// Compact text; bytes that are not UTF-8 are replaced.
std::string DumpJson(const nlohmann::json& json);

}  // namespace pgrejoin

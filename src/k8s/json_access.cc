#include "k8s/json_access.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace pgrejoin {
namespace {

using nlohmann::json;

[[noreturn]] void WrongType(std::string_view path, const char* expected, const json& found) {
  throw Error(ErrorKind::kUnavailable, "malformed JSON: \"" + std::string(path) + "\" is " +
                                           found.type_name() + ", expected " + expected);
}

}  // namespace

json ParseJson(std::string_view text, std::string_view what) {
  json parsed = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (parsed.is_discarded()) {
    throw Error(ErrorKind::kUnavailable, "malformed JSON of " + std::string(what) + " (" +
                                             std::to_string(text.size()) + " bytes, beginning \"" +
                                             Printable(text.substr(0, 60)) + "\")");
  }
  return parsed;
}

const json* FindMember(const json& object, std::string_view path) {
  const json* at = &object;
  std::string_view rest = path;
  while (true) {
    if (!at->is_object()) {
      WrongType(path.substr(0, path.size() - rest.size()), "an object", *at);
    }
    const size_t slash = rest.find('/');
    const auto member = at->find(std::string(rest.substr(0, slash)));
    if (member == at->end() || member->is_null()) return nullptr;
    at = &*member;
    if (slash == std::string_view::npos) return at;
    rest.remove_prefix(slash + 1);
  }
}

std::string StringAt(const json& object, std::string_view path) {
  const json* found = FindMember(object, path);
  if (found == nullptr) return {};
  if (!found->is_string()) WrongType(path, "a string", *found);
  return found->get<std::string>();
}

bool BoolAt(const json& object, std::string_view path, bool when_absent) {
  const json* found = FindMember(object, path);
  if (found == nullptr) return when_absent;
  if (!found->is_boolean()) WrongType(path, "a boolean", *found);
  return found->get<bool>();
}

std::map<std::string, std::string> StringMapAt(const json& object, std::string_view path) {
  std::map<std::string, std::string> map;
  const json* found = FindMember(object, path);
  if (found == nullptr) return map;
  if (!found->is_object()) WrongType(path, "an object", *found);
  for (const auto& [key, value] : found->items()) {
    if (!value.is_string()) WrongType(std::string(path) + "/" + key, "a string", value);
    map[key] = value.get<std::string>();
  }
  return map;
}

const json& ArrayAt(const json& object, std::string_view path) {
  static const json kEmpty = json::array();
  const json* found = FindMember(object, path);
  if (found == nullptr) return kEmpty;
  if (!found->is_array()) WrongType(path, "an array", *found);
  return *found;
}

std::string DumpJson(const json& object) {
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace pgrejoin

#include "k8s/kube_object.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "k8s/json_access.h"

namespace pgrejoin {
namespace {

using nlohmann::json;

// The reverse of PointerToken().
std::string KeyOf(std::string_view token) {
  std::string key;
  for (size_t i = 0; i < token.size(); ++i) {
    const bool escape = token[i] == '~' && i + 1 < token.size();
    if (escape) ++i;
    key += escape ? (token[i] == '1' ? '/' : '~') : token[i];
  }
  return key;
}

}  // namespace

KubeObject::KubeObject(std::string_view text, std::string what)
    : what_(std::move(what)), document_(std::make_unique<json>(ParseJson(text, what_))) {}

KubeObject::~KubeObject() = default;
KubeObject::KubeObject(KubeObject&&) noexcept = default;
KubeObject& KubeObject::operator=(KubeObject&&) noexcept = default;

std::optional<std::string> KubeObject::At(std::string_view pointer) const {
  const size_t embedded = pointer.find('#');
  const std::string_view outer = pointer.substr(0, embedded);
  const auto wrong = [&](const char* expected, const json& found) {
    return Error(ErrorKind::kUnavailable, what_ + ": \"" + std::string(outer) + "\" is " +
                                              found.type_name() + ", expected " + expected);
  };
  const json* at = document_.get();
  std::string_view rest = outer;
  while (!rest.empty()) {
    rest.remove_prefix(1);  // the slash before each token
    if (!at->is_object()) throw wrong("an object on the way", *at);
    const size_t slash = std::min(rest.find('/'), rest.size());
    const auto member = at->find(KeyOf(rest.substr(0, slash)));
    if (member == at->end() || member->is_null()) return std::nullopt;
    at = &*member;
    rest.remove_prefix(slash);
  }
  if (embedded != std::string_view::npos) {
    if (!at->is_string()) throw wrong("a string", *at);
    const KubeObject inner(at->get_ref<const std::string&>(), what_ + ", " + std::string(outer));
    return inner.At(pointer.substr(embedded + 1));
  }
  if (at->is_string()) return at->get<std::string>();
  if (!at->is_number() && !at->is_boolean()) throw wrong("a string, number or boolean", *at);
  return at->dump();
}

std::string PointerToken(std::string_view key) {
  std::string token;
  for (const char c : key) {
    if (c == '~') {
      token += "~0";
    } else if (c == '/') {
      token += "~1";
    } else {
      token += c;
    }
  }
  return token;
}

}  // namespace pgrejoin

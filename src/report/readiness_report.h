// Readiness to be rewound as `pg-rejoin check` prints it. Format: docs/reference/readiness.md.
#pragma once

#include <string>

#include "rewind/readiness.h"

namespace pgrejoin {

std::string ReadinessTable(const Readiness& readiness);
std::string ReadinessJson(const Readiness& readiness);

}  // namespace pgrejoin

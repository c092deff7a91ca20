// SHA-256, as PostgreSQL's sha256(bytea) computes it. The work is done by OpenSSL.
#pragma once

#include <array>

#include "base/bytes.h"

namespace pgrejoin {

using Sha256 = std::array<std::byte, 32>;

Sha256 ComputeSha256(Bytes bytes);

}  // namespace pgrejoin

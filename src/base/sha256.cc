#include "base/sha256.h"

#include <openssl/sha.h>

namespace pgrejoin {

Sha256 ComputeSha256(Bytes bytes) {
  Sha256 digest;
  static_assert(sizeof(Sha256) == SHA256_DIGEST_LENGTH);
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
         reinterpret_cast<unsigned char*>(digest.data()));
  return digest;
}

}  // namespace pgrejoin

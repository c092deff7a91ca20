// CRC-32C (Castagnoli) as Postgres computes it: INIT_CRC32C .. COMP_CRC32C .. FIN_CRC32C
// (src/include/port/pg_crc32c.h). The work is done by ISA-L, and by the processor where inputs are
// short.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace pgrejoin {

class Crc32c {
 public:
  void Update(Bytes bytes);
  uint32_t Finish() const { return ~state_; }

 private:
  uint32_t state_ = 0xffffffff;
};

uint32_t ComputeCrc32c(Bytes bytes);

}  // namespace pgrejoin

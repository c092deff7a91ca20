#include "base/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <climits>

namespace pgrejoin {

void Crc32c::Update(Bytes bytes) {
  while (!bytes.empty()) {
    const size_t step = std::min<size_t>(bytes.size(), INT_MAX);
    // ISA-L takes a non-const pointer but only reads.
    auto* data = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(bytes.data()));
    state_ = crc32_iscsi(data, static_cast<int>(step), state_);
    bytes = bytes.subspan(step);
  }
}

uint32_t ComputeCrc32c(Bytes bytes) {
  Crc32c crc;
  crc.Update(bytes);
  return crc.Finish();
}

}  // namespace pgrejoin

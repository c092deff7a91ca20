#include "base/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <climits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace pgrejoin {
namespace {

#if defined(__x86_64__)

// ISA-L's fastest code is for long inputs: on a WAL record of a hundred bytes its set-up costs more
// than the sum, and it leaves the wide registers in a state that slows down what comes after it.
// With both seen to, WAL of small records is decoded nearly three times as fast
// (bench/engine_rate.cc).
constexpr size_t kLongBytes = 512;

__attribute__((target("sse4.2"))) uint32_t UpdateShort(uint32_t state, Bytes bytes) {
  uint64_t wide = state;
  size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) wide = _mm_crc32_u64(wide, LoadLe64(bytes, at));
  auto narrow = static_cast<uint32_t>(wide);
  for (; at < bytes.size(); ++at) narrow = _mm_crc32_u8(narrow, LoadU8(bytes, at));
  return narrow;
}

bool IsForShort(size_t bytes) {
  static const bool can = __builtin_cpu_supports("sse4.2") != 0;
  return can && bytes < kLongBytes;
}

__attribute__((target("avx"))) void ZeroUpper() { _mm256_zeroupper(); }

void LeaveWideRegisters() {
  static const bool wide = __builtin_cpu_supports("avx") != 0;
  if (wide) ZeroUpper();
}

#else

uint32_t UpdateShort(uint32_t state, Bytes) { return state; }
bool IsForShort(size_t) { return false; }
void LeaveWideRegisters() {}

#endif

}  // namespace

void Crc32c::Update(Bytes bytes) {
  if (IsForShort(bytes.size())) {
    state_ = UpdateShort(state_, bytes);
    return;
  }
  while (!bytes.empty()) {
    const size_t step = std::min<size_t>(bytes.size(), INT_MAX);
    // ISA-L takes a non-const pointer but only reads.
    auto* data = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(bytes.data()));
    state_ = crc32_iscsi(data, static_cast<int>(step), state_);
    bytes = bytes.subspan(step);
  }
  LeaveWideRegisters();
}

uint32_t ComputeCrc32c(Bytes bytes) {
  Crc32c crc;
  crc.Update(bytes);
  return crc.Finish();
}

}  // namespace pgrejoin

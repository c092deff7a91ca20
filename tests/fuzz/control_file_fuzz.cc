// pg_control. Input: options (1: right length, 2: right checksum), content.
#include <algorithm>
#include <bit>

#include "base/crc32c.h"
#include "fuzz/fuzz.h"
#include "pgdata/control_file.h"

namespace pgrejoin::fuzz {
namespace {

void CheckAccepted(const ControlFile& control) {
  Require(std::has_single_bit(control.wal_segment_size()), "a segment size is a power of two");
  Require(control.wal_segment_size() >= 1 << 20 && control.wal_segment_size() <= 1 << 30,
          "and within PostgreSQL's limits");
  Require(control.block_size() == 8192 && control.blocks_per_segment() > 0, "pages are known");
  CheckCompatible(control, control);

  const ControlFile fenced = ControlFile::Parse(control.Fenced().raw(), "fenced");
  Require(fenced.fenced(), "a fence is known again");
  Require(fenced.system_identifier() == control.system_identifier(), "and tells whose it is");
  Require(std::ranges::equal(fenced.Fenced().raw(), fenced.raw()), "fencing twice changes nothing");

  const Lsn recovery_point{0x1234567890};
  const ControlFile standby =
      ControlFile::Parse(control.AsStandby(recovery_point, 7).raw(), "standby's");
  Require(standby.in_recovery() && standby.min_recovery_point() == recovery_point &&
              standby.min_recovery_point_timeline() == 7,
          "a standby begins in recovery");
  Require(std::ranges::equal(standby.raw().subspan(148, 104), control.raw().subspan(148, 104)),
          "what is not named stays as it is");
}

}  // namespace
}  // namespace pgrejoin::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pgrejoin;
  using namespace pgrejoin::fuzz;
  Input input(data, size);
  const uint8_t options = input.Take<uint8_t>();
  std::string content(input.Rest());
  if ((options & 1) != 0) content.resize(kControlFileBytes);
  if ((options & 2) != 0 && content.size() >= 16) {
    const MutableBytes bytes = std::as_writable_bytes(std::span(content));
    const PgVersion* version = FindPgVersion(LoadLe32(bytes, 12));
    if (version != nullptr && content.size() >= version->control_crc_offset + sizeof(uint32_t)) {
      StoreLe<uint32_t>(bytes, version->control_crc_offset,
                        ComputeCrc32c(Bytes(bytes).first(version->control_crc_offset)));
    }
  }
  Accepts([&] { CheckAccepted(ControlFile::Parse(AsBytes(content), "fuzzed")); });
  return 0;
}

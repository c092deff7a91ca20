#include "wal/wal_record.h"

#include <spdlog/fmt/fmt.h>

#include "base/error.h"

namespace pgrejoin {
namespace {

constexpr uint8_t kBlockIdMax = 32;
constexpr uint8_t kIdTopLevelXid = 252;
constexpr uint8_t kIdOrigin = 253;
constexpr uint8_t kIdDataLong = 254;
constexpr uint8_t kIdDataShort = 255;

constexpr uint8_t kForkMask = 0x0f;
constexpr uint8_t kHasImage = 0x10;
constexpr uint8_t kHasData = 0x20;
constexpr uint8_t kWillInit = 0x40;
constexpr uint8_t kSameRelation = 0x80;

constexpr size_t kBlockBytes = 8192;

// Walks the fragment headers; every read is checked against what is left.
class FragmentReader {
 public:
  FragmentReader(Bytes record, const PgVersion& version, WalRecord* out)
      : rest_(record.subspan(kWalRecordHeaderBytes)), version_(version), out_(out) {}

  void Run() {
    while (rest_.size() > payload_bytes_) {
      const uint8_t id = Take<uint8_t>();
      if (id <= kBlockIdMax) {
        ReadBlockHeader(id);
      } else if (id == kIdDataShort) {
        ReadMainDataHeader(Take<uint8_t>());
        break;
      } else if (id == kIdDataLong) {
        ReadMainDataHeader(Take<uint32_t>());
        break;
      } else if (id == kIdOrigin) {
        Take<uint16_t>();
      } else if (id == kIdTopLevelXid) {
        Take<uint32_t>();
      } else {
        Fail(fmt::format("unknown block id {}", id));
      }
    }
    if (rest_.size() != payload_bytes_) Fail("lengths do not add up");
    out_->main_data = rest_.last(main_data_bytes_);
  }

 private:
  template <typename T>
  T Take() {
    if (rest_.size() < sizeof(T)) Fail("header runs past its end");
    const T value = LoadLe<T>(rest_, 0);
    rest_ = rest_.subspan(sizeof(T));
    return value;
  }

  void ReadMainDataHeader(uint32_t bytes) {
    main_data_bytes_ = bytes;
    payload_bytes_ += bytes;
  }

  void ReadBlockHeader(uint8_t id) {
    if (static_cast<int>(id) <= last_block_id_) Fail("block ids out of order");
    last_block_id_ = id;
    const uint8_t flags = Take<uint8_t>();
    const uint16_t data_bytes = Take<uint16_t>();
    if (((flags & kHasData) != 0) != (data_bytes > 0)) Fail("block data length and flag disagree");
    payload_bytes_ += data_bytes;

    BlockReference block;
    if ((flags & kForkMask) > static_cast<uint8_t>(ForkNumber::kInit)) Fail("unknown fork");
    block.fork = static_cast<ForkNumber>(flags & kForkMask);
    block.will_init = (flags & kWillInit) != 0;
    if ((flags & kHasImage) != 0) ReadImageHeader(&block);
    if ((flags & kSameRelation) != 0) {
      if (!has_locator_) Fail("block reference without a relation");
    } else {
      locator_.tablespace = Take<uint32_t>();
      locator_.database = Take<uint32_t>();
      locator_.number = Take<uint32_t>();
      has_locator_ = true;
    }
    block.locator = locator_;
    block.block = Take<uint32_t>();
    out_->blocks.push_back(block);
  }

  // The same cross-checks as DecodeXLogRecord(): a version's flags read wrongly fail here.
  void ReadImageHeader(BlockReference* block) {
    const uint16_t image_bytes = Take<uint16_t>();
    const uint16_t hole_offset = Take<uint16_t>();
    const uint8_t info = Take<uint8_t>();
    if ((info & ~version_.image_known) != 0) Fail(fmt::format("unknown image flags {:#x}", info));
    const bool has_hole = (info & version_.image_has_hole) != 0;
    const bool compressed = (info & version_.image_compressed) != 0;
    size_t hole_bytes = 0;
    if (compressed) {
      if (has_hole) hole_bytes = Take<uint16_t>();
      if (image_bytes >= kBlockBytes) Fail("compressed image is not smaller than a block");
    } else {
      if (image_bytes > kBlockBytes) Fail("image is larger than a block");
      hole_bytes = kBlockBytes - image_bytes;
    }
    const bool hole_fits =
        hole_offset > 0 && hole_bytes > 0 && hole_offset + hole_bytes <= kBlockBytes;
    if (has_hole && !hole_fits) Fail("image hole does not fit its block");
    if (!has_hole && (hole_offset != 0 || (!compressed && image_bytes != kBlockBytes))) {
      Fail("image without a hole is not a block");
    }
    block->has_image = true;
    block->image_applied = (info & version_.image_apply) != 0;
    payload_bytes_ += image_bytes;
  }

  [[noreturn]] void Fail(const std::string& what) const {
    throw Error(ErrorKind::kNotRewindable, fmt::format("WAL record at {} is not understood: {}",
                                                       out_->start.ToString(), what));
  }

  Bytes rest_;
  const PgVersion& version_;
  WalRecord* out_;
  size_t payload_bytes_ = 0;
  size_t main_data_bytes_ = 0;
  int last_block_id_ = -1;
  bool has_locator_ = false;
  RelFileLocator locator_;
};

}  // namespace

void DecodeWalRecord(Bytes record, const PgVersion& version, WalRecord* out) {
  out->xid = LoadLe32(record, 4);
  out->prev = {LoadLe64(record, 8)};
  out->info = LoadU8(record, 16);
  out->rmgr = LoadU8(record, 17);
  out->crc = LoadLe32(record, 20);
  out->blocks.clear();
  const bool known =
      out->rmgr <= kRmgrLastBuiltin || (version.custom_rmgrs && out->rmgr >= kRmgrFirstCustom);
  if (!known) {
    throw Error(ErrorKind::kNotRewindable,
                fmt::format("WAL record at {} has unknown resource manager {}",
                            out->start.ToString(), out->rmgr));
  }
  FragmentReader(record, version, out).Run();
}

}  // namespace pgrejoin

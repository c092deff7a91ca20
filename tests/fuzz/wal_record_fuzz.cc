// One WAL record whose checksum is right, and what it does to files. Input: major, record.
#include <variant>

#include "fuzz/fuzz.h"
#include "wal/record_effects.h"
#include "wal/wal_record.h"

namespace pgrejoin::fuzz {
namespace {

void CheckEffect(const WalRecord& record, const RecordEffect& effect) {
  if (const auto* end = std::get_if<TransactionEndEffect>(&effect)) {
    Require(end->children.size() * 4 <= record.main_data.size(),
            "subtransactions are in the record");
  }
  if (const auto* create = std::get_if<CreateRelationEffect>(&effect)) {
    Require(create->fork <= ForkNumber::kInit, "a relation is created in a fork that exists");
  }
}

}  // namespace
}  // namespace pgrejoin::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pgrejoin;
  using namespace pgrejoin::fuzz;
  Input input(data, size);
  const PgVersion& version = kPgVersions[input.Take<uint8_t>() % kPgVersions.size()];
  // A copy of its own size, so that a read behind it is seen.
  const std::string copy(input.Rest());
  const Bytes bytes = AsBytes(copy);
  if (bytes.size() < kWalRecordHeaderBytes) return 0;  // the reader hands over whole headers

  WalRecord record;
  if (!Accepts([&] { DecodeWalRecord(bytes, version, &record); })) return 0;
  Require(record.main_data.data() + record.main_data.size() == bytes.data() + bytes.size(),
          "main data is the end of the record");
  Require(record.main_data.size() <= bytes.size() - kWalRecordHeaderBytes, "and behind its header");
  Require(record.blocks.size() <= 33, "at most 33 blocks");
  for (const BlockReference& block : record.blocks) {
    Require(block.fork <= ForkNumber::kInit, "a fork that exists");
    Require(block.has_image || !block.image_applied, "an image that is applied is there");
  }
  Accepts([&] { CheckEffect(record, EffectOf(record, version)); });
  return 0;
}

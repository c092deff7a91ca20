// Names of WAL segments, and positions as text. Input: segment size, segment and timeline, text.
#include "fuzz/fuzz.h"
#include "pgdata/wal_segment_name.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pgrejoin;
  using namespace pgrejoin::fuzz;
  Input input(data, size);
  const uint32_t segment_size = uint32_t{1} << (20 + input.Take<uint8_t>() % 11);
  const WalSegmentName any{input.Take<uint32_t>() | 1, input.Take<uint64_t>() / segment_size};
  const std::string_view text = input.Rest();

  const auto any_again = WalSegmentName::Parse(any.ToString(segment_size), segment_size);
  Require(any_again && any_again->tli == any.tli && any_again->segment == any.segment,
          "every segment has a name of its own");
  if (const auto name = WalSegmentName::Parse(text, segment_size)) {
    Require(name->ToString(segment_size) == text, "a name that is accepted is canonical");
    Require(WalSegmentName::Parse(text)->tli == name->tli, "the timeline needs no segment size");
  }
  if (const auto lsn = Lsn::Parse(text)) {
    Require(Lsn::Parse(lsn->ToString()) == lsn, "a position that is printed is read again");
  }
  return 0;
}

// backup_label. Input: segment size, text.
#include "fuzz/fuzz.h"
#include "pgdata/backup_label.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pgrejoin;
  using namespace pgrejoin::fuzz;
  Input input(data, size);
  const uint32_t segment_size = uint32_t{1} << (20 + input.Take<uint8_t>() % 11);
  const auto label = BackupLabel::Parse(input.Rest());
  if (!label) return 0;
  Require(label->checkpoint.valid() && label->timeline != 0, "a label says where replay begins");
  const auto again = BackupLabel::Parse(label->ToString(segment_size));
  Require(again.has_value(), "what is printed is read again");
  Require(again->start == label->start && again->timeline == label->timeline &&
              again->checkpoint == label->checkpoint && again->ours,
          "and is the same, but ours");
  return 0;
}

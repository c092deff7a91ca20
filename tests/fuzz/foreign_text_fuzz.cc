// What makes foreign bytes fit for a log line, and for JSON, and what reads a time. Input: bytes.
#include "base/bytes.h"
#include "base/error.h"
#include "base/utc_time.h"
#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace pgrejoin;
  using namespace pgrejoin::fuzz;
  const std::string text(reinterpret_cast<const char*>(data), size);

  const std::string shown = Printable(text);
  Require(shown.size() <= 1010, "a log line is bounded");
  for (const char c : shown) Require(c >= 0x20 && c < 0x7f, "and is ASCII");

  std::string bytes;
  Require(FromHex(ToHex(AsBytes(text)), &bytes) && bytes == text,
          "hexadecimal goes there and back");
  if (FromHex(text, &bytes)) Require(bytes.size() * 2 == text.size(), "two digits make a byte");

  const auto time = ParseUtc(text);
  if (time) Require(FormatUtc(*time, 0) == text, "a time is read as it is written");
  return 0;
}

#include "pgdata/backup_label.h"

#include <spdlog/fmt/fmt.h>

#include <charconv>
#include <ctime>

#include "pgdata/wal_segment_name.h"

namespace pgrejoin {
namespace {

constexpr std::string_view kStart = "START WAL LOCATION: ";
constexpr std::string_view kCheckpoint = "CHECKPOINT LOCATION: ";
constexpr std::string_view kLabel = "LABEL: ";
constexpr std::string_view kOurLabel = "pg-rejoin rewound this directory";

std::string LocalTime() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char text[64];
  std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S %Z", &local);
  return text;
}

bool ParseStart(std::string_view value, BackupLabel* label) {
  // "0/2000028 (file 000000010000000000000002)"
  const size_t space = value.find(' ');
  const auto lsn = Lsn::Parse(value.substr(0, space));
  const size_t file = value.find("(file ");
  if (!lsn || file == std::string_view::npos) return false;
  const auto name = WalSegmentName::Parse(value.substr(file + 6, WalSegmentName::kLength));
  if (!name) return false;
  label->start = *lsn;
  label->timeline = name->tli;
  return true;
}

}  // namespace

std::optional<BackupLabel> BackupLabel::Parse(std::string_view text) {
  BackupLabel label;
  bool has_start = false;
  while (!text.empty()) {
    const size_t newline = text.find('\n');
    const std::string_view line = text.substr(0, newline);
    text.remove_prefix(newline == std::string_view::npos ? text.size() : newline + 1);
    if (line.starts_with(kStart)) {
      has_start = ParseStart(line.substr(kStart.size()), &label);
      if (!has_start) return std::nullopt;
    } else if (line.starts_with(kCheckpoint)) {
      const auto lsn = Lsn::Parse(line.substr(kCheckpoint.size()));
      if (!lsn) return std::nullopt;
      label.checkpoint = *lsn;
    } else if (line.starts_with(kLabel)) {
      label.ours = line.substr(kLabel.size()) == kOurLabel;
    }
  }
  if (!has_start || !label.checkpoint.valid()) return std::nullopt;
  return label;
}

std::string BackupLabel::ToString(uint32_t wal_segment_size) const {
  const WalSegmentName file{timeline, start.value / wal_segment_size};
  return fmt::format(
      "{}{} (file {})\n{}{}\nBACKUP METHOD: streamed\nBACKUP FROM: standby\nSTART TIME: {}\n{}{}\n"
      "START TIMELINE: {}\n",
      kStart, start.ToString(), file.ToString(wal_segment_size), kCheckpoint, checkpoint.ToString(),
      LocalTime(), kLabel, kOurLabel, timeline);
}

}  // namespace pgrejoin

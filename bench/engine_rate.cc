// How fast the parts of a rewind are by themselves, without the rest:
//
//   engine_rate scan PGDATA                  decodes the target's WAL from its checkpoint to its
//   end engine_rate fetch CONNINFO PGDATA N      N readers fetch the relation files of a running
//   source
//                                            and throw them away, in turns with N bare connections
//                                            that send the same batches
//
// Prints one line of JSON. PGDATA of fetch is the source's: where the names come from.
#include <libpq-fe.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "rewind/local_state.h"
#include "rewind/survey.h"
#include "rewind/target_wal.h"
#include "rewind/wal_scan.h"
#include "source/libpq_source.h"
#include "target/target_directory.h"

namespace {

using pgrejoin::FetchRequest;
using Clock = std::chrono::steady_clock;

constexpr int kRounds = 3;
constexpr uint32_t kPieceBytes = 256 << 10;
constexpr size_t kBatchPieces = 16;
constexpr uint64_t kFetchBytesMax = uint64_t{2} << 30;

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// The middle one.
double Median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

nlohmann::json Scan(const std::string& pgdata) {
  const auto target = pgrejoin::TargetDirectory::OpenForReading(pgdata);
  const pgrejoin::LocalState local = pgrejoin::ReadLocalState(target);
  const pgrejoin::Lsn start = local.control.checkpoint().redo;
  std::vector<double> seconds;
  for (int round = 0; round < kRounds; ++round) {
    pgrejoin::TargetWal wal(target, local.control, local.history);
    pgrejoin::RewindFacts facts(local.control);
    facts.label.start = start;
    facts.fork.lsn = local.tail.end;
    const auto begin = Clock::now();
    pgrejoin::ScanTargetWal(wal.reader(), start, local.tail.end, &facts);
    seconds.push_back(SecondsSince(begin));
  }
  const auto bytes = static_cast<double>(local.tail.end - start);
  return {{"wal_bytes", bytes}, {"wal_bytes_per_second", bytes / Median(seconds)}};
}

using Batch = std::vector<FetchRequest>;

std::vector<Batch> BatchesOf(const std::string& pgdata) {
  std::vector<Batch> batches(1);
  uint64_t bytes = 0;
  pgrejoin::TargetDirectory::OpenForReading(pgdata).ListFiles([&](const auto& file) {
    if (!pgrejoin::ParseRelationPath(file.path)) return;
    for (uint64_t at = 0; at < file.size && bytes < kFetchBytesMax; at += kPieceBytes) {
      const auto length = static_cast<uint32_t>(std::min<uint64_t>(kPieceBytes, file.size - at));
      if (batches.back().size() == kBatchPieces) batches.emplace_back();
      batches.back().push_back({file.path, at, length});
      bytes += length;
    }
  });
  return batches;
}

// Runs fetch(batch) for every batch on n threads, each with what open() made for it; bytes a
// second.
template <typename Open>
double Rate(const std::vector<Batch>& batches, size_t n, const Open& open) {
  std::vector<uint64_t> bytes(n);
  std::vector<std::jthread> threads;
  const auto begin = Clock::now();
  for (size_t thread = 0; thread < n; ++thread) {
    threads.emplace_back([&, thread] {
      auto fetch = open();
      for (size_t i = thread; i < batches.size(); i += n) bytes[thread] += fetch(batches[i]);
    });
  }
  threads.clear();
  uint64_t all = 0;
  for (const uint64_t part : bytes) all += part;
  return static_cast<double>(all) / SecondsSince(begin);
}

// What any program has to do at least: the same query, rows as they come, nothing looked at.
class BareReader {
 public:
  explicit BareReader(const std::string& conninfo) : connection_(PQconnectdb(conninfo.c_str())) {
    if (PQstatus(connection_) != CONNECTION_OK)
      throw std::runtime_error(PQerrorMessage(connection_));
  }
  BareReader(const BareReader&) = delete;
  BareReader& operator=(const BareReader&) = delete;
  ~BareReader() { PQfinish(connection_); }

  uint64_t Fetch(const Batch& batch) {
    std::string paths = "{";
    std::string offsets = "{";
    std::string lengths = "{";
    for (const FetchRequest& request : batch) {
      const char* separator = paths.size() > 1 ? "," : "";
      paths.append(separator).append(request.path);
      offsets.append(separator).append(std::to_string(request.offset));
      lengths.append(separator).append(std::to_string(request.length));
    }
    for (std::string* list : {&paths, &offsets, &lengths}) *list += '}';
    const char* values[] = {paths.c_str(), offsets.c_str(), lengths.c_str()};
    PQsendQueryParams(connection_,
                      "SELECT x.ord, pg_read_binary_file(x.path, x.start, x.len, true)"
                      " FROM ROWS FROM (unnest($1::text[]), unnest($2::int8[]), unnest($3::int4[]))"
                      " WITH ORDINALITY AS x(path, start, len, ord)",
                      3, nullptr, values, nullptr, nullptr, 1);
    PQsetSingleRowMode(connection_);
    uint64_t bytes = 0;
    while (PGresult* result = PQgetResult(connection_)) {
      if (PQresultStatus(result) == PGRES_FATAL_ERROR)
        throw std::runtime_error(PQerrorMessage(connection_));
      if (PQntuples(result) == 1) bytes += static_cast<uint64_t>(PQgetlength(result, 0, 1));
      PQclear(result);
    }
    return bytes;
  }

 private:
  PGconn* connection_;
};

nlohmann::json Fetch(const std::string& conninfo, const std::string& pgdata, size_t n) {
  const std::vector<Batch> batches = BatchesOf(pgdata);
  const auto source = pgrejoin::LibpqSource::Connect({.conninfo = conninfo, .password = {}});
  source->Identify();
  const auto ours = [&] {
    return [reader = std::shared_ptr(source->OpenReader())](const Batch& batch) {
      uint64_t bytes = 0;
      reader->Fetch(batch,
                    [&](const FetchRequest&, pgrejoin::Bytes data, bool) { bytes += data.size(); });
      return bytes;
    };
  };
  const auto bare = [&] {
    return [reader = std::make_shared<BareReader>(conninfo)](const Batch& batch) {
      return reader->Fetch(batch);
    };
  };
  std::vector<double> ours_rates;
  std::vector<double> bare_rates;
  Rate(batches, n, bare);  // into the source's cache
  for (int round = 0; round < kRounds; ++round) {
    ours_rates.push_back(Rate(batches, n, ours));
    bare_rates.push_back(Rate(batches, n, bare));
  }
  return {{"fetch_bytes_per_second", Median(ours_rates)},
          {"bare_fetch_bytes_per_second", Median(bare_rates)},
          {"connections", n}};
}

}  // namespace

int main(int argc, char** argv) {
  const std::span args(argv, static_cast<size_t>(argc));
  try {
    if (args.size() == 3 && std::string(args[1]) == "scan") {
      std::puts(Scan(args[2]).dump().c_str());
    } else if (args.size() == 5 && std::string(args[1]) == "fetch") {
      std::puts(Fetch(args[2], args[3], std::stoul(args[4])).dump().c_str());
    } else {
      std::fputs("usage: engine_rate scan PGDATA | fetch CONNINFO PGDATA N\n", stderr);
      return 2;
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "engine_rate: %s\n", error.what());
    return 1;
  }
}

// What init did is done when the server follows: then, and only then, the outcome says "rejoined".
#pragma once

#include <optional>
#include <string>

#include "k8s/api_client.h"
#include "pod/pod_options.h"
#include "source/rewind_source.h"

namespace pgrejoin {

// Gathers the proof look by look, for one pod.
class RejoinProof {
 public:
  // Whether init has made this pod's data follow another primary, and nobody has said yet that its
  // server does. An everyday restart of a standby asks for no proof.
  static bool Awaited(const Pod& own, const PodOptions& options);

  // One look at a confirmed primary and at the own server, asked in this order. receives: its WAL
  // receiver is connected. Proven when it has replayed all WAL that the primary had at the first
  // look, is on the primary's timeline, and receives.
  bool Look(const std::string& pod, const SourceIdentity& primary, const SourceIdentity& own,
            bool receives);

  // "streams from x-1 on timeline 2 and has replayed 0/5000", of the last look.
  const std::string& text() const { return text_; }

 private:
  struct Goal {
    std::string pod;
    Lsn lsn;
  };
  std::optional<Goal> goal_;
  std::string text_;
};

// Writes the annotations and the Event. Throws Error when the API does not answer.
void PublishRejoined(KubernetesApi* api, const PodOptions& options, const std::string& text);

}  // namespace pgrejoin

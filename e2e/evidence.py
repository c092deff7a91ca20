"""Everything that a run leaves behind where others can read it, for the search for secrets (test_secrets.py)."""
import json
import pathlib
import threading

CONTAINERS = ("rejoin-init", "clone", "rejoin", "postgres")


class Evidence:
    """Texts by where they were found, and the secrets that must be in none of them."""

    def __init__(self):
        self.texts = {}
        self.secrets = {}
        self._arguments = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    # ---- arguments of every process of the machine, those in containers included

    def start(self):
        self._thread.start()

    def stop(self):
        self._stop.set()
        self._thread.join()

    def _watch(self):
        while not self._stop.wait(0.2):
            for process in pathlib.Path("/proc").glob("[0-9]*"):
                try:
                    self._arguments.add((process / "cmdline").read_bytes())
                except OSError:
                    continue

    def arguments(self):
        return "\n".join(sorted(line.replace(b"\0", b" ").decode(errors="replace") for line in set(self._arguments)))

    # ---- what a release shows

    def collect(self, release):
        namespace = release.namespace
        for kind in ("pods", "events", "configmaps"):
            self.texts[f"{namespace} {kind}"] = release.kubectl("get", kind, "-o", "json", check=False).stdout
        for pod in release.pods():
            name = pod["metadata"]["name"]
            for container in CONTAINERS:
                for previous in (False, True):
                    log = release.logs(name, container, previous)
                    if log:
                        self.texts[f"{namespace} log of {name} {container}{' (previous)' if previous else ''}"] = log
            token = release.kubectl("exec", name, "-c", "rejoin", "--", "cat",
                                    "/var/run/secrets/kubernetes.io/serviceaccount/token", check=False)
            if token.returncode == 0:
                self.secrets[f"token of {namespace} {name}"] = token.stdout.strip()

    def collect_log_files(self, folder):
        """The logs of all containers that the kubelet still has, those of deleted pods included."""
        for file in sorted(pathlib.Path(folder).rglob("*.log")):
            self.texts[f"file {file.relative_to(folder)}"] = file.read_text(errors="replace")

    def findings(self):
        """Where which secret stands."""
        places = {**self.texts, "arguments of processes": self.arguments()}
        # As it is, and as JSON would escape it.
        forms = {name: {secret, json.dumps(secret)[1:-1]} for name, secret in self.secrets.items()}
        return [f"{name} in {place}" for place, text in places.items() for name, spellings in forms.items()
                if any(spelling in text for spelling in spellings)]

"""Everything that a run leaves behind where others can read it, for the search for secrets (test_secrets.py)."""
import contextlib
import os
import pathlib
import threading


class Evidence:
    """Texts by where they were found, and the secrets that must be in none of them."""

    def __init__(self, log_folder):
        self.texts = {}
        self.secrets = {}
        self._log_folder = pathlib.Path(log_folder)
        self._log_sizes = {}
        self._arguments = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    # ---- while it runs: arguments of every process of the machine, those in containers included, and the logs of
    # all containers, which the kubelet removes with their pod

    def start(self):
        self._thread.start()

    def stop(self):
        self._stop.set()
        self._thread.join()

    def _watch(self):
        rounds = 0
        while not self._stop.wait(0.2):
            for process in pathlib.Path("/proc").glob("[0-9]*"):
                try:
                    self._arguments.add((process / "cmdline").read_bytes())
                except OSError:
                    continue
            rounds += 1
            if rounds % 5 == 0:
                self.read_logs()

    def read_logs(self):
        # Folders come and go, which os.walk() passes over.
        for folder, _, names in os.walk(self._log_folder):
            for file in (pathlib.Path(folder, name) for name in names if name.endswith(".log")):
                with contextlib.suppress(OSError):
                    self._read_log(file)

    def _read_log(self, file):
        size = file.stat().st_size
        if self._log_sizes.get(file) != size:
            self.texts[f"log {file.relative_to(self._log_folder)}"] = file.read_text(errors="replace")
            self._log_sizes[file] = size

    def arguments(self):
        return "\n".join(sorted(line.replace(b"\0", b" ").decode(errors="replace") for line in set(self._arguments)))

    # ---- what a release shows

    def collect(self, release):
        namespace = release.namespace
        for kind in ("pods", "events", "configmaps"):
            self.texts[f"{namespace} {kind}"] = release.kubectl("get", kind, "-o", "json", check=False).stdout
        self.read_logs()
        for pod in release.pods():
            name = pod["metadata"]["name"]
            token = release.kubectl("exec", name, "-c", "rejoin", "--", "cat",
                                    "/var/run/secrets/kubernetes.io/serviceaccount/token", check=False)
            if token.returncode == 0:
                self.secrets[f"token of {namespace} {name}"] = token.stdout.strip()

    def findings(self):
        """Where which secret stands. Searched by its first word, which is unique and which no quoting changes: the
        rest of a password looks otherwise in a connection string, a shell's word, a URL, or JSON within JSON."""
        places = {**self.texts, "arguments of processes": self.arguments()}
        return [f"{name} in {place}" for place, text in places.items() for name, secret in self.secrets.items()
                if secret.split()[0] in text]

"""A proxy before a server's socket that counts what the server sends."""

import os
import socket
import threading
from pathlib import Path


class CountingProxy:
    """Listens in `directory`, as a server's socket directory, and calls `on_bytes(total)` from its threads."""

    def __init__(self, directory: Path, upstream: Path, on_bytes=lambda total: None):
        self.directory = directory
        self.upstream = upstream
        self.on_bytes = on_bytes
        self.total = 0
        self._lock = threading.Lock()
        directory.mkdir(mode=0o755)
        self._server = socket.socket(socket.AF_UNIX)
        path = directory / ".s.PGSQL.5432"
        self._server.bind(str(path))
        os.chmod(path, 0o777)
        self._server.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._server.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(self.upstream / ".s.PGSQL.5432"))
            threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source, sink, counted):
        try:
            while data := source.recv(1 << 18):
                if counted:
                    with self._lock:
                        self.total += len(data)
                    self.on_bytes(self.total)
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

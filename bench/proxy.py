"""A TCP proxy that counts: bytes from the source, and with a delay, a source that is far away."""

import selectors
import socket
import threading
import time
from collections import deque


class Proxy:
    """Forwards 127.0.0.1:port to a server's unix socket. `delay_s` holds every chunk back, each way."""

    def __init__(self, upstream: str, delay_s: float = 0.0):
        self.upstream = upstream
        self.delay_s = delay_s
        self.received = 0  # from the source
        self.sent = 0
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        server.connect(self.upstream)
        peers = {client: server, server: client}
        waiting = deque()  # (due, destination, data)
        selector = selectors.DefaultSelector()
        for end in peers:
            selector.register(end, selectors.EVENT_READ)
        open_ends = True
        while open_ends or waiting:
            wait = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
            for key, _ in selector.select(wait):
                data = key.fileobj.recv(1 << 18)
                if not data:
                    open_ends = False
                    selector.unregister(key.fileobj)
                    break
                with self.lock:
                    if key.fileobj is server:
                        self.received += len(data)
                    else:
                        self.sent += len(data)
                waiting.append((time.monotonic() + self.delay_s, peers[key.fileobj], data))
            while waiting and waiting[0][0] <= time.monotonic():
                _, destination, data = waiting.popleft()
                try:
                    destination.sendall(data)
                except OSError:
                    waiting.clear()
                    open_ends = False
            if not open_ends and not waiting:
                break
        client.close()
        server.close()

    def close(self) -> None:
        self.listener.close()

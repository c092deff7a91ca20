"""A TCP proxy that counts bytes; with a delay and a rate it is a source that is far away.

The kernel's own emulation (tc netem) is not available in every container, this is.
"""

import selectors
import socket
import threading
import time
from collections import deque


class Link:
    """A direction of the wire, shared by all connections: `rate` bytes in a second, 0 for no limit."""

    def __init__(self, rate: float):
        self.rate = rate
        self.free_at = 0.0
        self.carried = 0
        self.lock = threading.Lock()

    def carry(self, size: int) -> float:
        """When the last of these bytes has left."""
        with self.lock:
            self.carried += size
            if not self.rate:
                return time.monotonic()
            self.free_at = max(self.free_at, time.monotonic()) + size / self.rate
            return self.free_at


class Proxy:
    """Forwards 127.0.0.1:port to a server's unix socket. `delay_s` holds every chunk back, each way."""

    CHUNK = 1 << 16
    # What may be on its way from the source, per connection: without an end to it a slow link would be a large memory.
    IN_FLIGHT = 4 << 20

    def __init__(self, upstream: str, delay_s: float = 0.0, rate: float = 0.0):
        self.upstream = upstream
        self.delay_s = delay_s
        self.down, self.up = Link(rate), Link(rate)
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def received(self) -> int:
        return self.down.carried

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
        up = threading.Thread(target=self._pump, args=(client, server, self.up), daemon=True)
        up.start()
        self._pump(server, client, self.down)
        up.join()
        client.close()
        server.close()

    def _pump(self, source: socket.socket, destination: socket.socket, link: Link) -> None:
        """One direction: reads as long as there is room on the wire, delivers what has arrived."""
        wire = deque()  # (arrives at, data)
        on_wire = 0
        open_end = True
        with selectors.SelectSelector() as selector:  # epoll waits whole milliseconds
            selector.register(source, selectors.EVENT_READ)
            try:
                while open_end or wire:
                    now = time.monotonic()
                    while wire and wire[0][0] <= now:
                        data = wire.popleft()[1]
                        on_wire -= len(data)
                        destination.sendall(data)
                    wait = max(0.0, wire[0][0] - time.monotonic()) if wire else None
                    if not open_end or on_wire > self.IN_FLIGHT:
                        time.sleep(wait or 0)
                    elif selector.select(wait):
                        data = source.recv(self.CHUNK)
                        open_end = bool(data)
                        on_wire += len(data)
                        if data:
                            wire.append((link.carry(len(data)) + self.delay_s, data))
                destination.shutdown(socket.SHUT_WR)
            except OSError:  # either side has hung up
                for end in (source, destination):
                    try:
                        end.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        pass

    def close(self) -> None:
        self.listener.close()

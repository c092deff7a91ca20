"""A source that lies: PostgreSQL's protocol version 3 between the tool and a real server.

What the tool asks is passed on; what the server answers is passed back, but for one lie. So everything but the
lie is true, and a refusal is about the lie. The queries are those of src/source/libpq_source.cc, told apart by
their text.
"""

import contextlib
import re
import select
import socket
import struct
import threading
from collections import Counter
from dataclasses import dataclass, field

QUERIES = (  # kind, what its text holds
    ("list", b"WITH RECURSIVE files"),
    ("fetch", b"SELECT x.ord, pg_catalog.pg_read_binary_file(x.path"),
    ("digest", b"SELECT x.ord, pg_catalog.sha256("),
    ("identity", b"pg_is_in_recovery()"),
    ("incarnation", b"pg_postmaster_start_time()"),
    ("read", b"pg_read_binary_file($1"),
    ("session", b"SET statement_timeout"),
)


@dataclass
class Request:
    """A query that is being answered. `number` counts those of its kind, over all connections."""
    kind: str = "startup"
    number: int = 0
    parameters: list = field(default_factory=list)
    rows: int = 0

    @property
    def path(self) -> str:
        """Of kind "read"."""
        return self.parameters[0].decode()

    def range(self, index: int) -> tuple:
        """Of kind "fetch" and "digest": path, offset and length of a row."""
        paths, offsets, lengths = (p.decode() for p in self.parameters)
        names = re.findall(r'"((?:[^"\\]|\\.)*)"', paths)
        return names[index], int(offsets[1:-1].split(",")[index]), int(lengths[1:-1].split(",")[index])


@dataclass
class Row:
    """A row on its way to the tool: fields are bytes, or None for NULL."""
    request: Request
    index: int
    fields: list

    @property
    def path(self) -> str:
        kind = self.request.kind
        return self.request.range(self.index)[0] if kind in ("fetch", "digest") else self.request.path if kind == "read" else ""


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def data_row(fields: list) -> bytes:
    out = [struct.pack("!h", len(fields))]
    for value in fields:
        out.append(struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value)
    return message(b"D", b"".join(out))


def error_response(text: bytes, state: bytes = b"XX000") -> bytes:
    return message(b"E", b"SERROR\0VERROR\0C" + state + b"\0M" + text + b"\0\0")


def fields_of(body: bytes) -> list:
    fields, at = [], 2
    for _ in range(struct.unpack_from("!h", body)[0]):
        length = struct.unpack_from("!i", body, at)[0]
        at += 4
        fields.append(None if length < 0 else body[at:at + length])
        at += max(length, 0)
    return fields


class Lie:
    """The truth. What differs overrides a method; `told` counts the lies, for one that is never told proves nothing."""

    def __init__(self):
        self.told = 0

    def greet(self, client, startup: bytes) -> bool:
        """Before the server hears of the client. False: the connection has been dealt with."""
        return True

    def answer(self, request: Request, kind: bytes, body: bytes):
        """Messages instead of one of the server's."""
        if kind == b"D":
            row = Row(request, request.rows, fields_of(body))
            request.rows += 1
            yield from self.row(row, message(kind, body))
        else:
            yield message(kind, body)

    def row(self, row: Row, original: bytes):
        yield original

    def pass_on(self, client, data: bytes) -> None:
        client.sendall(data)


class Rows(Lie):
    """Rows of one kind of query are changed: `change` gets a row and returns those that are sent instead."""

    def __init__(self, kind: str, change, at=lambda row: True):
        super().__init__()
        self.kind, self.change, self.at = kind, change, at

    def row(self, row, original):
        if row.request.kind != self.kind or not self.at(row):
            yield original
            return
        self.told += 1
        for fields in self.change(row):
            yield data_row(fields)


class Messages(Lie):
    """Instead of the first row that `at` chooses, these bytes. `silent`: what follows is swallowed, up to the end of
    the answer."""

    def __init__(self, kind: str, chunks, at=lambda row: True, silent=True):
        super().__init__()
        self.kind, self.chunks, self.at, self.silent = kind, chunks, at, silent
        self.muted = None

    def answer(self, request, kind, body):
        if self.muted is request and kind != b"Z":
            return
        yield from super().answer(request, kind, body)

    def row(self, row, original):
        if row.request.kind != self.kind or not self.at(row) or self.told:
            yield original
            return
        self.told += 1
        self.muted = row.request if self.silent else None
        yield from self.chunks() if callable(self.chunks) else self.chunks


class Greeting(Lie):
    """`speak` gets the socket of a client that has just said its first words, and those words."""

    def __init__(self, speak):
        super().__init__()
        self.speak = speak

    def greet(self, client, startup):
        self.told += 1
        self.speak(client, startup)
        return False


class Cut(Lie):
    """The connection ends after so many bytes of all connections together: with a reset, or properly."""

    def __init__(self, after: int, reset=True):
        super().__init__()
        self.left, self.reset = after, reset
        self.lock = threading.Lock()

    def pass_on(self, client, data):
        with self.lock:
            sent = data[:self.left]
            self.left -= len(sent)
        client.sendall(sent)
        if len(sent) < len(data):
            self.told += 1
            hang_up(client, self.reset)
            raise ConnectionError("cut")


class Trigger(Lie):
    """The truth, and the moment at which something happens: `when(self, request)` is asked before each message, of all
    connections; the first time that it says yes, `act()` is called while all of them stand still. `silent` from then
    on: nothing is sent any more, and no connection ends."""

    def __init__(self, when, act=lambda: None):
        super().__init__()
        self.when, self.act = when, act
        self.bytes = self.answers = 0
        self.answered = Counter()  # queries of each kind
        self.complete = False  # the message ends its answer
        self.silent = False
        self.lock = threading.Lock()

    def answer(self, request, kind, body):
        with self.lock:
            self.bytes += len(body) + 5
            self.complete = kind == b"Z"
            self.answers += self.complete
            self.answered[request.kind] += self.complete
            if not self.told and self.when(self, request):
                self.told += 1
                self.act()
            if self.silent:
                return
        yield message(kind, body)


def hang_up(client, reset: bool) -> None:
    if reset:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()  # nothing may be read from it afterwards
    else:
        client.shutdown(socket.SHUT_WR)


def read_exactly(sock, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = sock.recv(min(count - len(data), 1 << 18))
        if not piece:
            raise ConnectionError("closed")
        data += piece
    return bytes(data)


class HostileSource:
    """Listens on a port of its own until the end of the `with` block."""

    def __init__(self, server, lie: Lie):
        self.upstream = f"{server.socket_directory}/.s.PGSQL.{server.port}"
        self.lie = lie
        self.counts: dict = {}
        self.lock = threading.Lock()
        self.sockets: list = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        for sock in [self.listener, *self.sockets]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def conninfo(self, **more) -> str:
        parts = {"host": "127.0.0.1", "port": self.port, "user": "rewind_user", "dbname": "postgres",
                 "sslmode": "disable", "gssencmode": "disable", "connect_timeout": 5, **more}
        return " ".join(f"{k}={v}" for k, v in parts.items())

    def cut(self, reset: bool) -> None:
        """Ends every connection. Their threads close what is only shut down here."""
        for sock in list(self.sockets):
            with contextlib.suppress(OSError):  # some have ended by themselves
                if reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.shutdown(socket.SHUT_RD)

    def refuse(self) -> None:
        """No further connection is taken."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.sockets.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        # The end of the test closes sockets under us, and the server may be down.
        with contextlib.suppress(OSError, ValueError), client:
            head = read_exactly(client, 4)
            startup = head + read_exactly(client, struct.unpack("!i", head)[0] - 4)
            if not self.lie.greet(client, startup):
                return
            server = socket.socket(socket.AF_UNIX)
            self.sockets.append(server)
            server.connect(self.upstream)
            server.sendall(startup)
            Session(self, client, server).run()

    def number(self, kind: str) -> int:
        with self.lock:
            self.counts[kind] = self.counts.get(kind, -1) + 1
            return self.counts[kind]


class Session:
    """One connection, served by one thread: libpq waits for an answer before it asks again. A close is a close at once,
    because nobody else reads from the socket."""

    def __init__(self, source: HostileSource, client, server):
        self.source, self.client, self.server = source, client, server
        self.request = Request()
        self.kind = ""

    def run(self):
        buffers = {self.client: bytearray(), self.server: bytearray()}
        try:
            while True:
                for sock in select.select(list(buffers), [], [])[0]:
                    data = sock.recv(1 << 18)
                    if not data:
                        return
                    buffers[sock] += data
                    for kind, body in take_messages(buffers[sock]):
                        (self._question if sock is self.client else self._answer)(kind, body)
        finally:
            self.client.close()
            self.server.close()

    def _question(self, kind: bytes, body: bytes):
        if kind in (b"P", b"Q"):
            text = body.split(b"\0")[1 if kind == b"P" else 0]
            self.kind = next((name for name, sign in QUERIES if sign in text), "other")
        if kind == b"Q":
            self.request = Request(self.kind, self.source.number(self.kind))
        if kind == b"B":
            self.request = Request(self.kind, self.source.number(self.kind), bound_parameters(body))
        self.server.sendall(message(kind, body))

    def _answer(self, kind: bytes, body: bytes):
        for out in self.source.lie.answer(self.request, kind, body):
            self.source.lie.pass_on(self.client, out)


def take_messages(buffer: bytearray):
    """The whole messages at the front of the buffer, which they leave."""
    at = 0
    while len(buffer) >= at + 5:
        end = at + 1 + struct.unpack_from("!i", buffer, at + 1)[0]
        if len(buffer) < end:
            break
        yield bytes(buffer[at:at + 1]), bytes(buffer[at + 5:end])
        at = end
    del buffer[:at]


def bound_parameters(body: bytes) -> list:
    """Of a Bind message."""
    at = body.index(b"\0", body.index(b"\0") + 1) + 1
    formats = struct.unpack_from("!h", body, at)[0]
    at += 2 + 2 * formats
    count = struct.unpack_from("!h", body, at)[0]
    at += 2
    parameters = []
    for _ in range(count):
        length = struct.unpack_from("!i", body, at)[0]
        parameters.append(body[at + 4:at + 4 + length] if length >= 0 else None)
        at += 4 + max(length, 0)
    return parameters

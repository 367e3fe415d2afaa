"""A port that passes bytes on and keeps them: one before the proxy and one after it show what it changed."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_CHUNKED = re.compile(rb"(?i)\r\ntransfer-encoding: *chunked")


class Passed:
    """What passed through one connection: `up` from the client, `down` from the server."""

    def __init__(self) -> None:
        self.up = bytearray()
        self.down = bytearray()

    @property
    def is_websocket(self) -> bool:
        return self.down.startswith(b"HTTP/1.1 101 ")

    @property
    def handshake_key(self) -> bytes:
        """Identifies WebSockets, before the proxy and after it."""
        found = re.search(rb"(?i)\r\nsec-websocket-key: *(\S+)", self.up)
        return found[1] if found else b""

    @property
    def frames(self) -> tuple[bytes, bytes]:
        """All that follows the handshake, up and down: masks and fragments included."""
        up, down = (bytes(each.partition(b"\r\n\r\n")[2]) for each in (self.up, self.down))
        return up, down

    @property
    def exchanges(self) -> list[tuple[bytes, bytes]]:
        """The bodies of each HTTP request and of its answer, the chunks of the latter joined."""
        return list(zip(_bodies(bytes(self.up)), _bodies(bytes(self.down)), strict=True))


class Tap:
    """Listens on a free port of loopback, and passes each connection on to `target`."""

    def __init__(self, target: int) -> None:
        self.passed: list[Passed] = []
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    @property
    def websockets(self) -> dict[bytes, tuple[bytes, bytes]]:
        """The frames of each WebSocket, up and down, by the key of its handshake."""
        return {each.handshake_key: each.frames for each in self.passed if each.is_websocket}

    @property
    def exchanges(self) -> list[tuple[bytes, bytes]]:
        """The bodies of all HTTP exchanges, sorted."""
        return sorted(pair for each in self.passed if not each.is_websocket for pair in each.exchanges)

    def close(self) -> None:
        """Stop listening, and end all connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for sock in (self._listener, *self._sockets):
            sock.close()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets.append(server)
                passed = Passed()
                self.passed.append(passed)
                for source, sink, kept in ((client, server, passed.up), (server, client, passed.down)):
                    source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._start(self._copy, source, sink, kept)

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 18):
                kept += data
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def _bodies(data: bytes) -> list[bytes]:
    """Return the bodies of HTTP messages that follow one another; each has a length or chunks."""
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        if _CHUNKED.search(head):
            body = b""
            while True:
                size, _, data = data.partition(b"\r\n")
                length = int(size, 16)
                body, data = body + data[:length], data[length + 2 :]
                if not length:
                    break
        else:
            length_line = _LENGTH.search(head)
            length = int(length_line[1]) if length_line else 0
            body, data = data[:length], data[length:]
        found.append(body)
    return found


def frames(data: bytes) -> list[bytes]:
    """Return the frames of one direction of a WebSocket, each as it passed (RFC 6455 §5.2)."""
    found = []
    while data:
        head, length = 2, data[1] & 0x7F
        if length >= 126:
            head = 4 if length == 126 else 10
            length = int.from_bytes(data[2:head], "big")
        size = head + (4 if data[1] & 0x80 else 0) + length
        found.append(data[:size])
        data = data[size:]
    return found

"""An upstream on a real socket that does what a test's script says, byte by byte.

One thread per connection. A script is called with a `Call` for every
request, before its body is read.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator

from world.ports import HeldPort
from world.waiting import PATIENCE_S, eventually

Pairs = list[tuple[bytes, bytes]]


def is_alive(sock: socket.socket) -> bool:
    """Whether the kernel still holds the connection for open in both directions."""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1
    except OSError:
        return False


def reset(sock: socket.socket) -> None:
    """Close so that the peer sees RST; a TLS peer gets no close_notify."""
    with contextlib.suppress(OSError):
        raw = socket.socket(fileno=sock.detach())
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.close()


class PeerGone(Exception):
    """The proxy closed the connection."""


class Call:
    """One request as its script sees it."""

    def __init__(self, sock: socket.socket, head: bytes, rest: bytes) -> None:
        self.sock = sock
        self.head = head
        lines = head.split(b"\r\n")
        self.method, self.target, self.version = lines[0].split(b" ")
        self.headers: Pairs = [
            (n, v.strip(b" \t")) for n, _, v in (line.partition(b":") for line in lines[1:])
        ]
        self.body = b""
        self.whole = False
        self.closed = False
        self.rest = rest
        """Bytes read but not yet looked at."""

    def header(self, name: bytes) -> bytes | None:
        return next((v for n, v in self.headers if n.lower() == name), None)

    def receive(self) -> bytes:
        """Return what comes next on the connection; raise PeerGone at its end."""
        if self.rest:
            data, self.rest = self.rest, b""
            return data
        try:
            data = self.sock.recv(1 << 18)
        except OSError:
            data = b""
        if not data:
            raise PeerGone
        return data

    def read_body(self) -> bytes:
        """Read the request's body to its end."""
        if not self.whole:
            for part in self.body_parts():
                self.body += part
        return self.body

    def body_parts(self) -> Iterator[bytes]:
        """Give the request's body as it comes, and keep nothing of it; `read_body` is empty afterwards."""
        coding = self.header(b"transfer-encoding")
        yield from self._chunks() if coding else self._counted(int(self.header(b"content-length") or 0))
        self.whole = True

    def _counted(self, left: int):
        while left:
            data = self.receive()
            data, self.rest = data[:left], data[left:]
            left -= len(data)
            yield data

    def _line(self) -> bytes:
        data = b""
        while b"\r\n" not in data:
            data += self.receive()
        line, _, self.rest = data.partition(b"\r\n")
        return line

    def _chunks(self):
        while size := int(self._line(), 16):
            yield from self._counted(size)
            assert self._line() == b""
        while self._line():
            pass

    # ---- answers

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def reply(self, body: bytes = b"", headers: Pairs = (), status: bytes = b"200 OK") -> None:
        """Send a counted response."""
        lines = [*headers, (b"Content-Length", b"%d" % len(body))]
        self.send(b"HTTP/1.1 %b\r\n%b\r\n" % (status, b"".join(b"%b: %b\r\n" % p for p in lines)) + body)

    def reply_json(self, document: object, status: bytes = b"200 OK") -> None:
        self.reply(json.dumps(document).encode(), [(b"Content-Type", b"application/json")], status)

    def start_stream(self) -> None:
        """Send the head of a chunked event stream."""
        self.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")

    def chunk(self, data: bytes) -> None:
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def end_stream(self) -> None:
        self.send(b"0\r\n\r\n")

    def finish(self) -> None:
        """Close the connection in an orderly way (FIN; with TLS: close_notify too)."""
        self.closed = True
        with contextlib.suppress(OSError, ValueError):
            if isinstance(self.sock, ssl.SSLSocket):
                self.sock.settimeout(0.2)
                self.sock.unwrap()
            self.sock.shutdown(socket.SHUT_WR)
        self.sock.close()

    def finish_without_notice(self) -> None:
        """TLS: end the TCP connection with FIN but without close_notify."""
        self.closed = True
        socket.socket(fileno=self.sock.detach()).close()

    def reset(self) -> None:
        self.closed = True
        reset(self.sock)

    def seconds_until_gone(self, limit_s: float = PATIENCE_S) -> float | None:
        """Wait, without reading, until the proxy ends the connection; None if it does not."""
        start = time.monotonic()
        gone = eventually(lambda: not is_alive(self.sock), limit_s)
        return time.monotonic() - start if gone else None


def echo(call: Call) -> None:
    """Say what came."""
    body = call.read_body()
    call.reply_json({"method": call.method.decode(), "target": call.target.decode(), "length": len(body)})


Script = Callable[[Call], None]


class Upstream:
    """Listens on a free port of loopback until `close`."""

    def __init__(self, tls: ssl.SSLContext | None = None, receive_buffer: int | None = None) -> None:
        self.script: Script = echo
        self.calls: list[Call] = []
        self.sockets: list[socket.socket] = []
        self.errors: list[BaseException] = []
        self._tls = tls
        self._threads: list[threading.Thread] = []
        self._receive_buffer = receive_buffer
        self._lock = threading.Lock()
        self._held = HeldPort()
        self.port = self._held.number
        self._listen()

    def _listen(self) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._receive_buffer is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen(128)
        self._closed = False
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/v1" if self._tls else f"http://127.0.0.1:{self.port}/v1"

    def begin(self, script: Script = echo) -> None:
        """Forget what came so far and follow `script` from now on."""
        self.script = script
        self.calls, self.errors = [], []

    @property
    def alive(self) -> int:
        """Connections that are still open."""
        return sum(1 for sock in self.sockets if is_alive(sock))

    def close(self) -> None:
        """Stop listening and end every connection, also one that was accepted just now."""
        with self._lock:
            self._closed = True
            sockets = [self._listener, *self.sockets]
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in list(self._threads):
            thread.join(5)

    def revive(self) -> None:
        """Listen on the same port again, after `close`."""
        self._listen()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            if not self._keep(sock):
                return
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _keep(self, sock: socket.socket) -> bool:
        """Remember a connection; close it and return False if the upstream is closed."""
        with self._lock:
            if not self._closed:
                self.sockets.append(sock)
                return True
        sock.close()
        return False

    def _serve(self, sock: socket.socket) -> None:
        try:
            sock.settimeout(PATIENCE_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
                if not self._keep(sock):
                    return
            self._requests(sock)
        except (PeerGone, OSError):
            pass
        except BaseException as error:  # a test's script failed: the test must know
            if not (self._closed and isinstance(error, ValueError)):  # what a closed TLS socket raises
                self.errors.append(error)
        finally:
            sock.close()

    def _requests(self, sock: socket.socket) -> None:
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                more = sock.recv(1 << 18)
                if not more:
                    return
                data += more
            head, _, rest = data.partition(b"\r\n\r\n")
            call = Call(sock, head, rest)
            self.calls.append(call)
            self.script(call)
            if call.closed:
                return
            call.read_body()
            data = call.rest

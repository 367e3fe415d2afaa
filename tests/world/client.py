"""A client on a real socket that sends and sees bytes, not an HTTP library's idea of them."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import time
from collections.abc import Iterable, Iterator

from attrs import Factory, define

from world.upstream import reset
from world.waiting import PATIENCE_S

HOP_BY_HOP = {b"connection", b"keep-alive", b"transfer-encoding", b"te", b"trailer", b"upgrade"}


@define
class Response:
    """What came for one request.

    `whole` says that its framing was complete; `end` how the connection
    stood then: "open", "fin" or "reset".
    """

    status: int | None = None
    reason: bytes = b""
    headers: list[tuple[bytes, bytes]] = Factory(list)
    body: bytes = b""
    whole: bool = False
    end: str = "open"
    framing: str = ""

    def header(self, name: bytes) -> bytes | None:
        return next((v for n, v in self.headers if n.lower() == name), None)

    @property
    def end_to_end(self) -> list[tuple[bytes, bytes]]:
        return [(n, v) for n, v in self.headers if n.lower() not in HOP_BY_HOP]

    @property
    def error(self) -> dict[str, object]:
        """The error object of a response of the proxy's own."""
        document = json.loads(self.body)
        assert list(document) == ["error"]
        assert sorted(document["error"]) == ["code", "message", "param", "type"]
        assert (self.header(b"x-request-id") or b"").startswith(b"proxy-")
        return document["error"]


class Ended(Exception):
    """The connection ended or the time is over."""


class Client:
    """One connection to the daemon, over TCP, TLS (`context`) or a Unix socket (`path`)."""

    def __init__(
        self,
        port: int = 0,
        *,
        path: str | None = None,
        context: ssl.SSLContext | None = None,
        receive_buffer: int | None = None,
    ) -> None:
        sock = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(PATIENCE_S)
        try:
            sock.connect(path or ("127.0.0.1", port))
            self.sock = context.wrap_socket(sock, server_hostname="localhost") if context else sock
        except OSError:
            sock.close()
            raise
        self.buffer = b""
        self.end = "open"
        self._came: list[bytes] = []

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> bool:
        """Send all; False if the peer does not take it any more."""
        try:
            self.sock.sendall(data)
        except OSError:
            return False
        return True

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        reset(self.sock)

    def half_close(self) -> None:
        """Say that nothing more comes; nothing happens if the peer has reset the connection."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def _more(self, deadline: float) -> None:
        self.sock.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            data = self.sock.recv(1 << 18)
        except TimeoutError:
            raise Ended from None
        except (OSError, ssl.SSLError):
            self.end = "reset"
            raise Ended from None
        if not data:
            self.end = "fin"
            raise Ended
        self.buffer += data
        self._came.append(data)

    def _take(self, size: int, deadline: float) -> bytes:
        while len(self.buffer) < size:
            self._more(deadline)
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def _line(self, deadline: float) -> bytes:
        while b"\r\n" not in self.buffer:
            self._more(deadline)
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def read_until(self, mark: bytes, timeout_s: float = PATIENCE_S) -> bytes:
        """Return everything up to and with `mark`, unparsed."""
        deadline = time.monotonic() + timeout_s
        while mark not in self.buffer:
            self._more(deadline)
        return self._take(self.buffer.index(mark) + len(mark), deadline)

    def rest(self, timeout_s: float = PATIENCE_S) -> bytes:
        """Return everything until the end of the connection."""
        deadline = time.monotonic() + timeout_s
        with contextlib.suppress(Ended):
            while True:
                self._more(deadline)
        data, self.buffer = self.buffer, b""
        return data

    def response(self, timeout_s: float = PATIENCE_S, *, head_only: bool = False) -> Response:
        """Read one final response; `head_only` for the answer to HEAD."""
        deadline = time.monotonic() + timeout_s
        self._came = [self.buffer]
        response = Response()
        with contextlib.suppress(Ended):
            while self._read_head(response, deadline) < 200 and response.status != 101:
                pass
            self._read_body(response, deadline, head_only)
        response.end = self.end
        return response

    def put_back(self) -> None:
        """Take the last `response` for not read: it was not whole in time, and its rest may come yet."""
        self.buffer = b"".join(self._came)

    def _read_head(self, response: Response, deadline: float) -> int:
        line = self._line(deadline)
        match = re.fullmatch(rb"HTTP/1\.1 (\d\d\d) (.*)", line)
        assert match, line
        response.status, response.reason = int(match[1]), match[2]
        response.headers = []
        while line := self._line(deadline):
            name, _, value = line.partition(b":")
            response.headers.append((name, value[1:]))
        return response.status

    def _read_body(self, response: Response, deadline: float, head_only: bool) -> None:
        length = response.header(b"content-length")
        if head_only or response.status in (101, 204, 304):
            response.framing = "none"
        elif response.header(b"transfer-encoding") == b"chunked":
            response.framing = "chunked"
            while size := int(self._line(deadline), 16):
                self._take_into(response, size, deadline)
                assert self._take(2, deadline) == b"\r\n"
            assert self._line(deadline) == b""
        elif length is not None:
            response.framing = "counted"
            self._take_into(response, int(length), deadline)
        else:
            response.framing = "close"
            try:
                while True:
                    self._take_into(response, len(self.buffer) or 1, deadline)
            except Ended:
                response.whole = self.end == "fin"
                return
        response.whole = True

    def _take_into(self, response: Response, size: int, deadline: float) -> None:
        while size:
            while not self.buffer:
                self._more(deadline)
            data, self.buffer = self.buffer[:size], self.buffer[size:]
            response.body += data
            size -= len(data)


def accepts(port: int) -> bool:
    """Whether anybody listens on a port."""
    try:
        Client(port).close()
    except OSError:
        return False
    return True


def ask(port: int, raw: bytes, timeout_s: float = PATIENCE_S, *, head_only: bool = False) -> Response:
    """Send one request on a connection of its own and read the answer."""
    with Client(port) as client:
        client.send(raw)
        return client.response(timeout_s, head_only=head_only)


@contextlib.contextmanager
def sent_together(ports: Iterable[int], raw: bytes) -> Iterator[list[tuple[Client, int]]]:
    """Send the same request to each of `ports` at once; give (connection, status), heads read."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(port)) for port in ports]
        for client in clients:
            client.send(raw)
        yield [(client, int(client.read_until(b"\r\n\r\n")[9:12])) for client in clients]


def verdict(response: Response) -> tuple[int | None, bytes | None]:
    """Return status and what the cache did."""
    return response.status, response.header(b"x-cache")

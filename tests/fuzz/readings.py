"""Two independent readings of bytes: llhttp's with no rule of ours, and h11's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import h11
import httptools


class Message(NamedTuple):
    """A whole message; header values without white space around them."""

    first: tuple[bytes, ...]
    """Method and target, or the status."""
    pairs: list[tuple[bytes, bytes]]
    body: bytes


class _Parts:
    """What llhttp calls back, collected."""

    def __init__(self) -> None:
        self.first: Callable[[], tuple[bytes, ...]] = tuple
        self.whole: list[Message] = []
        self.url = b""
        self.pairs: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.headed = False

    def on_message_begin(self) -> None:
        self.url = self.body = b""
        self.pairs, self.headed = [], False

    def on_url(self, data: bytes) -> None:
        self.url += data

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.headed:
            self.pairs.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.headed = True

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.whole.append(Message(self.first(), self.pairs, self.body))


def _first_of(parser: Any, parts: _Parts) -> Callable[[], tuple[bytes, ...]]:
    return lambda: (parser.get_method(), parts.url)


def requests_by_llhttp(raw: bytes) -> list[Message]:
    """Return the whole requests in `raw`, up to the first thing that llhttp refuses or an upgrade."""
    parts = _Parts()
    original: dict[int, list[tuple[bytes, bytes]]] = {}
    """Lines of the messages that are read a second time, with less of them."""
    while raw:
        parser = httptools.HttpRequestParser(parts)
        parts.first = _first_of(parser, parts)
        try:
            parser.feed_data(raw)
            break
        except httptools.HttpParserUpgrade as upgrade:
            # It takes what follows for another protocol; a body that the head announces is read on.
            rest, last = raw[upgrade.args[0] :], parts.whole[-1]
            names = {name for name, _ in last.pairs}
            has_body = b"transfer-encoding" in names or (b"content-length", b"0") not in last.pairs
            has_body = has_body and bool(names & {b"transfer-encoding", b"content-length"})
            if last.first[0] == b"CONNECT" or (
                last.first[0] == b"GET" and not has_body and _asks_websocket(last)
            ):
                break
            parts.whole.pop()
            original[len(parts.whole)] = last.pairs
            head = b"\r\n".join(
                b"%b: %b" % pair for pair in last.pairs if pair[0] not in (b"upgrade", b"connection")
            )
            closing = b"Connection: close\r\n" if (b"connection", b"close") in last.pairs else b""
            raw = b"%b %b HTTP/1.1\r\n%b%b\r\n\r\n%b" % (*last.first, closing, head, rest)
        except httptools.HttpParserError:
            break
    return [message._replace(pairs=original.get(at, message.pairs)) for at, message in enumerate(parts.whole)]


def _asks_websocket(request: Message) -> bool:
    """Whether a handshake may go on as a tunnel; one that must be refused (417) is followed by HTTP."""
    if any(name == b"expect" and value.lower() != b"100-continue" for name, value in request.pairs):
        return False
    return any(name == b"upgrade" and b"websocket" in value.lower() for name, value in request.pairs)


def response_by_llhttp(raw: bytes, is_head: bool, ended: bool) -> Message | None:
    """Return the final response in `raw`, if it is whole; `ended`: the connection was closed after it."""
    parts = _Parts()
    finals: list[tuple[bytes, list[tuple[bytes, bytes]]]] = []

    def headers_complete() -> None:
        parts.headed = True
        if parser.get_status_code() >= 200:
            finals.append((b"%d" % parser.get_status_code(), parts.pairs))

    parts.on_headers_complete = headers_complete  # type: ignore[method-assign]
    parser = httptools.HttpResponseParser(parts)
    parser.set_dangerous_leniencies(lenient_spaces_after_chunk_size=True)
    parts.first = lambda: (b"%d" % parser.get_status_code(),)
    try:
        parser.feed_data(raw)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        pass
    if not finals:
        return None
    status, pairs = finals[0]
    if is_head or status in (b"204", b"304"):
        return Message((status,), pairs, b"")
    whole = [message for message in parts.whole if message.first[0] >= b"2" or len(message.first[0]) > 3]
    if whole:
        return whole[0]
    names = {name for name, _ in pairs}
    if ended and not names & {b"content-length", b"transfer-encoding"}:
        return Message((status,), pairs, parts.body)
    return None


def requests_by_h11(raw: bytes) -> tuple[list[Message], bytes | str]:
    """Return the whole requests in `raw` as a server reads them, and what follows them: `error` if it is nonsense."""
    found = []
    while raw:
        head_bytes = raw.partition(b"\r\n\r\n")[0].lower()
        if head_bytes.count(b"\r\ncontent-length:") + head_bytes.count(b"\r\ntransfer-encoding:") > 1:
            return found, "error: framed twice"  # h11 takes one and forgets the other
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(raw)
        try:
            head = connection.next_event()
            if not isinstance(head, h11.Request):
                return found, raw
            body = b""
            while isinstance(event := connection.next_event(), h11.Data):
                body += event.data
        except h11.RemoteProtocolError as error:
            return found, f"error: {error}"
        if not isinstance(event, h11.EndOfMessage):
            return found, raw
        found.append(Message((head.method, head.target), [(n, v) for n, v in head.headers], body))
        raw = connection.trailing_data[0]
    return found, b""


def response_by_h11(raw: bytes, method: bytes, ended: bool) -> tuple[Message | None, bytes]:
    """Return the response that a client reads in `raw`, and what follows it. Raises RemoteProtocolError."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(raw)
    if ended:
        connection.receive_data(b"")
    head = connection.next_event()
    while isinstance(head, h11.InformationalResponse):
        head = connection.next_event()
    if not isinstance(head, h11.Response):
        return None, raw
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    if not isinstance(event, h11.EndOfMessage):
        return None, raw
    return Message(
        (b"%d" % head.status_code,), [(n, v) for n, v in head.headers], body
    ), connection.trailing_data[0]

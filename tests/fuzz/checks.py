"""What must hold for every message, whatever its bytes and wherever they are cut."""

from __future__ import annotations

import re
from functools import lru_cache

import h11

from .edges import Edges
from .readings import Message, requests_by_h11, requests_by_llhttp, response_by_h11, response_by_llhttp

HOP_BY_HOP = {
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}
CHANGED = HOP_BY_HOP | {b"host", b"via", b"content-length", b"expect"}

NEVER_NOMINATED = set(
    b"""content-type content-encoding content-language content-location content-range content-disposition
    authorization api-key via""".split()
)
DROPPED = CHANGED | {b"content-type", b"content-encoding", b"authorization", b"api-key"}
"""With underscores in their names, lines of these do not pass."""


class Difference(AssertionError):
    """Two readings of the same bytes."""


def _below_base(target: bytes) -> bytes:
    target = re.sub(rb"\A(?i:http)://[^/?#]*", b"", target)
    while target.startswith(b"/v1/"):
        target = target[3:]
    return b"/v1" + target


def check_requests(edges: Edges, raw: bytes, pieces: list[bytes]) -> int:
    """Send `raw` whole and in `pieces`; returns how many requests went upstream. Raises Difference."""
    read = requests_by_llhttp(raw)
    # How many go up may depend on the cuts: an early refusal ends the connection, whatever still comes.
    return max(
        _check_asked(edges, read, sent) for sent in ([raw], pieces) if sent is pieces or pieces != [raw]
    )


def _check_asked(edges: Edges, read: list[Message], pieces: list[bytes]) -> int:
    sent, back = edges.ask(pieces)
    unmatched = list(read)
    forwarded = 0
    for messages in map(_forwarded, sent):
        for message in messages:  # in which order connections were used does not show in their bytes
            at = next((at for at, other in enumerate(unmatched) if _same_request(message, other)), None)
            if at is None:
                raise Difference(f"went up, but is not read there by llhttp: {message!r} of {read!r}")
            del unmatched[at]
            forwarded += 1
    if re.search(rb"HTTP/1\.1 500 ", back):
        raise Difference("a defect of ours")
    return forwarded


def _forwarded(sent: bytes) -> list[Message]:
    """Return the requests that a second parser reads on an upstream connection."""
    found, rest = requests_by_h11(sent)
    if isinstance(rest, str):
        raise Difference(f"h11 cannot read what was forwarded: {rest}: {sent!r}")
    for message in found:
        names = {name for name, _ in message.pairs}
        if names & (HOP_BY_HOP - {b"transfer-encoding", b"connection", b"upgrade"}):
            raise Difference(f"hop-by-hop lines went up: {message!r}")
    return found


def _same_request(up: Message, read: Message) -> bool:
    if (up.first[0], up.first[1], up.body) != (read.first[0], _below_base(read.first[1]), read.body):
        return False
    return _end_to_end(up.pairs) == _end_to_end(read.pairs)


def _end_to_end(pairs: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the lines that a proxy passes on as they are (RFC 9110 §7.6.1)."""
    nominated = {
        token.strip(b" \t").lower()
        for name, value in pairs
        if name == b"connection"
        for token in value.split(b",")
    }
    gone = CHANGED | (nominated - NEVER_NOMINATED)
    return [pair for pair in pairs if pair[0] not in gone and not _is_dropped(pair[0])]


def _is_dropped(name: bytes) -> bool:
    return b"_" in name and name.replace(b"_", b"-") in DROPPED


_own_id = re.compile(rb"(?m)(?<=^x-request-id: proxy-)[0-9a-f]{16}(?=\r$)")
_own_error = lru_cache(10_000)(response_by_h11)
"""Reads errors of ours, most of which differ in nothing but their ids: h11 takes half as long as the proxy."""


def _read_answer(received: bytes, method: bytes, ended: bool) -> tuple[Message | None, bytes]:
    """Return what h11 reads; an id of ours is not looked at, and always the same."""
    read_once, ids = _own_id.subn(b"0" * 16, received)
    return _own_error(read_once, method, ended) if ids == 1 else response_by_h11(received, method, ended)


def check_response(edges: Edges, method: bytes, raw: bytes, pieces: list[bytes], ended: bool) -> bool:
    """Answer with `raw` in `pieces`; returns whether the client received it whole. Raises Difference."""
    received, how, pooled = edges.answer(method, pieces, ended)
    if not received:
        if ended and how != "aborted":
            raise Difference("the client waits for ever")
        return False
    try:
        message, rest = _read_answer(received, method, how == "closed")
    except h11.RemoteProtocolError as error:
        if how == "aborted":
            return False
        raise Difference(f"h11 cannot read what the client received: {error}: {received!r}") from error
    if message is None:
        if how != "aborted" and received:
            waits = not ended  # the upstream has not said everything yet
            if not waits:
                raise Difference(f"neither whole nor broken off: {received!r} {how}")
        return False
    if rest:
        raise Difference(f"the client received more than one answer: {rest!r}")
    if any(name == b"x-request-id" and value.startswith(b"proxy-") for name, value in message.pairs):
        if pooled:
            raise Difference("a connection is kept after an error of ours")
        return False
    read = response_by_llhttp(raw, method == b"HEAD", ended)
    if read is None:
        raise Difference(f"looks whole, but is not: {message!r}")
    if (message.first, message.body) != (read.first, read.body):
        raise Difference(f"another answer: {message!r} for {read!r}")
    lines = iter([pair for pair in read.pairs if pair[0] not in CHANGED])
    if not all(pair in lines for pair in message.pairs if pair[0] not in CHANGED):
        raise Difference(f"other lines: {message!r} for {read!r}")
    return True

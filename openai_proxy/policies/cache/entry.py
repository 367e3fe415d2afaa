"""A stored response, and its serialised form for another process.

Pure. The serialised form: magic and version, flags, a checksum over the rest
that is keyed by the entry's name (so a value of another name fails it), then a
JSON head and the body's bytes, compressed if that was asked for.
"""

from __future__ import annotations

import zlib
from hashlib import blake2b
from itertools import accumulate, count, pairwise
from struct import Struct
from typing import Any

import orjson
from attrs import Factory, astuple, field, frozen

from ...exchange.record import HeaderPairs
from ...exchange.usage import TokenKinds, Usage
from ...wire.body_headers import is_event_stream, media_type_and_coding
from ...wire.codings import maybe_decoded
from ...wire.headers import get, without
from ...wire.render import rendered_lines
from .unfit_answers import is_unfit

_MAGIC = b"oap\x01"
_PREFIX = Struct(">4sB16s")
_LENGTH = Struct(">I")
_COMPRESSED = 1

HIT = (b"x-cache", b"hit")
_UNSTORED = (b"date", b"age", b"x-cache", b"set-cookie", b"set-cookie2", b"retry-after", b"retry-after-ms")
_ENTRY_BYTES = 1200
_CHUNK_BYTES = 48
_HEADER_BYTES = 130
_LOOK_LIMIT_BYTES = 32 * 1024 * 1024
"""The largest number of bytes decoded from a compressed answer to look for errors in it."""
BLOCK_BYTES = 64 * 1024
"""Size of the chunks in which a body without boundaries of its own is stored."""


class Shown:
    """The last answer made from an entry, and the age it names: made once a second, not for every hit."""

    __slots__ = ("age_s", "response")

    def __init__(self) -> None:
        self.age_s: int | None = None
        self.response: Any = None
        """Made by the stage that answers; its type is unknown here."""


@frozen(eq=False, repr=False)
class CacheEntry:
    """A whole 200 response."""

    reason: bytes
    headers: HeaderPairs
    chunks: tuple[bytes, ...]
    """The body; that of a stream in the chunks in which it arrived."""
    stored_at: float
    """Seconds since the epoch."""
    usage: Usage | None = None
    body_bytes: int = field(
        init=False, default=Factory(lambda entry: sum(map(len, entry.chunks)), takes_self=True)
    )
    announced_bytes: int | None = field(
        init=False,
        default=Factory(
            lambda entry: None if get(entry.headers, b"content-length") is None else entry.body_bytes,
            takes_self=True,
        ),
    )
    """The length as the head announces it, or None. Both lengths are needed for every hit, so they are counted once."""

    serial: int = field(init=False, factory=count().__next__)
    """A serial number, unique among the entries of a process."""
    shown: Shown = field(init=False, factory=Shown, repr=False)

    @property
    def size_bytes(self) -> int:
        """The memory that the entry takes, with an estimate of Python's overhead."""
        pieces = len(self.chunks) * _CHUNK_BYTES + len(self.headers) * _HEADER_BYTES
        return _ENTRY_BYTES + pieces + self.body_bytes + sum(len(n) + len(v) for n, v in self.headers)

    def hit_headers(self, age_s: int) -> HeaderPairs:
        """Return the header lines of an answer from the cache: `x-cache`, `age`."""
        lines = [*self.headers, HIT, (b"age", b"%d" % age_s)]
        return rendered_lines(lines, media_type_and_coding(lines))

    def age_s(self, now: float) -> int:
        """Return whole seconds since it was stored (`now` since the epoch); at least 0, for clocks may disagree."""
        return max(0, int(now - self.stored_at))


class BadEntry(ValueError):
    """The bytes are not an entry of this version and name."""


def stored_headers(headers: HeaderPairs) -> HeaderPairs:
    """Return the header lines that are true for every reader: no date, cookie or rate limit."""
    return [
        pair
        for pair in without(headers, *_UNSTORED)
        if not pair[0].lower().startswith((b"x-ratelimit-", b"ratelimit"))
    ]


def make_entry(
    reason: bytes, headers: HeaderPairs, chunks: list[bytes], stored_at: float, usage: Usage | None
) -> CacheEntry | None:
    """Make the entry of a response, or return None if it may not be stored.

    It may not if its length is not the announced one, or if it is an error in
    spite of its status 200. A stream keeps its chunks as they came; other
    bodies are joined.
    """
    announced = get(headers, b"content-length")
    body = b"".join(chunks)
    if announced is not None and announced != b"%d" % len(body):
        return None
    media_type, coding = media_type_and_coding(headers)
    if _is_unfit(media_type, coding, body, announced is not None):
        return None
    kept = tuple(chunks) if is_event_stream(media_type) else _blocks(body)
    return CacheEntry(reason, stored_headers(headers), kept, stored_at, usage)


def _is_unfit(media_type: bytes, coding: bytes, body: bytes, announced: bool) -> bool:
    """Say whether a body must not be stored; one that cannot be decoded must not."""
    if not coding:
        return is_unfit(media_type, body, announced)
    decoded = maybe_decoded(body, coding, _LOOK_LIMIT_BYTES)
    if decoded is None or not decoded[1]:
        return True  # it cannot be decoded, is cut off, or holds far more than an answer
    return is_unfit(media_type, decoded[0], announced)


def _blocks(body: bytes) -> tuple[bytes, ...]:
    return tuple(body[i : i + BLOCK_BYTES] for i in range(0, len(body), BLOCK_BYTES))


def _checksum(key: bytes, flags: int, payload: bytes) -> bytes:
    return blake2b(payload, digest_size=16, key=key[:64], salt=bytes([flags])).digest()


def dump_entry(key: bytes, entry: CacheEntry, compress_bytes: int) -> bytes:
    """Serialise an entry under its name; bodies of `compress_bytes` and more are compressed.

    A body that has a Content-Encoding already is not compressed again.
    """
    usage = entry.usage
    head = orjson.dumps(
        {
            "reason": entry.reason.decode("latin-1"),
            "headers": [[n.decode("latin-1"), v.decode("latin-1")] for n, v in entry.headers],
            "sizes": [len(chunk) for chunk in entry.chunks],
            "stored_at": entry.stored_at,
            "usage": None if usage is None else _counts(usage),
        }
    )
    payload = b"".join((_LENGTH.pack(len(head)), head, *entry.chunks))
    flags = 0
    if len(payload) >= compress_bytes and get(entry.headers, b"content-encoding") is None:
        smaller = zlib.compress(payload, 1)
        if len(smaller) < len(payload):
            payload, flags = smaller, _COMPRESSED
    return _PREFIX.pack(_MAGIC, flags, _checksum(key, flags, payload)) + payload


def load_entry(key: bytes, data: bytes, limit_bytes: int) -> CacheEntry:
    """Parse an entry; raise BadEntry for anything that is not one of this version and name.

    `limit_bytes` bounds the decompressed size.
    """
    try:
        magic, flags, checksum = _PREFIX.unpack_from(data)
        payload = data[_PREFIX.size :]
        if magic != _MAGIC or flags > _COMPRESSED or checksum != _checksum(key, flags, payload):
            raise BadEntry
        return _parse(_inflate(payload, limit_bytes) if flags else payload)
    except BadEntry:
        raise
    except Exception as error:
        # Whatever the decoders raise for a foreign value, it is not an entry.
        raise BadEntry from error


def _inflate(payload: bytes, limit_bytes: int) -> bytes:
    inflater = zlib.decompressobj()
    plain = inflater.decompress(payload, limit_bytes)
    if not inflater.eof:
        raise BadEntry
    return plain


def _parse(payload: bytes) -> CacheEntry:
    (length,) = _LENGTH.unpack_from(payload)
    start = _LENGTH.size + length
    head = orjson.loads(payload[_LENGTH.size : start])
    ends = list(accumulate(head["sizes"], initial=start))
    if ends[-1] != len(payload) or ends != sorted(ends):
        raise BadEntry
    usage = head["usage"]
    return CacheEntry(
        reason=head["reason"].encode("latin-1"),
        headers=[(n.encode("latin-1"), v.encode("latin-1")) for n, v in head["headers"]],
        chunks=tuple(payload[a:b] for a, b in pairwise(ends)),
        stored_at=float(head["stored_at"]),
        usage=None if usage is None else _usage(usage),
    )


def _counts(usage: Usage) -> list[Any]:
    """Return the members of a usage; its kinds, which are rare, come last as a list."""
    kinds = [] if usage.kinds is None else [list(astuple(usage.kinds))]
    return [*astuple(usage, recurse=False)[:5], *kinds]


def _usage(members: list[Any]) -> Usage:
    given, made, cached, reasoning, estimated, *kinds = members
    if not all(isinstance(count, int) for count in (given, made, cached, reasoning)):
        raise BadEntry
    return Usage(given, made, cached, reasoning, bool(estimated), TokenKinds(*kinds[0]) if kinds else None)

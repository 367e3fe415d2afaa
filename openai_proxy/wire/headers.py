"""Header lines as pairs: what is hop-by-hop, what frames a message.

Pairs are (name, value) in wire order with the sender's case. Pure; used by
both edges. Facts from RFC 9110 (semantics) and RFC 9112 (HTTP/1.1).
"""

from __future__ import annotations

import re

from attrs import define

from ..exchange.bounded_memo import short_memo
from ..exchange.errors import MalformedRequest
from ..exchange.record import HeaderLines, HeaderPairs
from ..exchange.upstream_errors import UpstreamProtocolError
from .codings import codings_of
from .key_like import KEY_LIKE

HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)
"""RFC 9110 §7.6.1; whatever Connection nominates comes on top."""

_NEVER_NOMINATED = frozenset(
    b"""content-length content-type content-encoding content-language content-location content-range
    content-disposition host authorization api-key via""".split()
)
"""Fields that a Connection header may not make disappear: framing, representation, routing, credentials."""

NOTABLE = HOP_BY_HOP | {
    b"host",
    b"via",
    b"content-length",
    b"content-type",
    b"content-encoding",
    b"expect",
}
"""Fields that decide something here; all others only pass."""

# uri-host [ ":" port ] of RFC 3986 §3.2, without userinfo; empty is legal (RFC 9112 §3.2)
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")


_FRAMING = frozenset((b"content-length", b"transfer-encoding"))
_NOT_IN_UNDERSCORES = NOTABLE | {b"authorization", b"api-key", b"x-api-key", b"proxy-authorization"}
_ZERO = 0x30
_FEW = 8

_CONTROLS = bytes({*range(0x20), 0x7F} - {0x09})

_CLOSE = frozenset((b"close",))
_STOPS_HERE = HOP_BY_HOP | {b"host"}
_READ_IN_RESPONSES = HOP_BY_HOP | {b"content-length", b"content-type", b"content-encoding", b"x-request-id"}
_ALWAYS_JUDGED = HOP_BY_HOP | _NEVER_NOMINATED
_NAMES_KEPT = 1024
_LONGEST_NAME_KEPT = 64
_NOT_NOMINATED = _ALWAYS_JUDGED | {b"close", b""}


@short_memo(256)
def is_host(value: bytes) -> bool:
    """Return whether a Host value is well-formed: a name, an address or nothing, with a port or without."""
    return _HOST.fullmatch(value) is not None


def is_length(value: bytes) -> bool:
    """Whether a Content-Length is a number; one of 20 digits and more is refused, leading zeros or not."""
    return len(value) < 20 and value.isdigit()


@short_memo(256)
def media_type(value: bytes) -> bytes:
    """Return the media type of a Content-Type value: lower case, no parameters."""
    return value.partition(b";")[0].strip().lower()


@short_memo(256)
def _tokens(value: bytes) -> frozenset[bytes]:
    return frozenset(token.strip(b" \t").lower() for token in value.split(b","))


@define(eq=False, repr=False)
class RequestHead:
    """What a request's header section says, in one pass over it. Never mutated (and not frozen: 2 µs)."""

    forward: HeaderPairs
    """End-to-end lines but Host, in order."""
    host: bytes | None
    content_length: int | None
    chunked: bool = False
    keep_alive: bool = True
    """The client will send another request on this connection."""
    expects_continue: bool = False
    upgrade: bytes = b""
    """If Connection says upgrade: `websocket` if Upgrade lists it, otherwise Upgrade's lower-cased value.

    Empty for HTTP/1.0, which knows no upgrades (RFC 9110 §7.8).
    """
    vias: int = 0
    """How often this proxy's own pseudonym stands in Via."""
    content_type: bytes = b""
    """Media type in lower case without parameters; empty if absent."""
    encoded: bool = False
    """The body has a Content-Encoding other than identity."""

    @property
    def has_body(self) -> bool:
        """Whether bytes follow the header section."""
        return self.chunked or bool(self.content_length)


def _is_no_key(name: bytes, _: bytes | None) -> bool:
    """Whether a name may be remembered: somebody may have written a key where a name belongs."""
    return KEY_LIKE.search(name.decode("latin-1")) is None


# Senders change the values of their lines, and seldom the names: a look-up for each line, and no copy in lower case.
@short_memo(_NAMES_KEPT, _LONGEST_NAME_KEPT, keeps=_is_no_key)
def _decides_in_request(name: bytes) -> bytes | None:
    """Return a name in lower case if a request's line of that name must be looked at; None if it only passes."""
    lower = name.lower()
    return lower if lower in NOTABLE or b"_" in lower else None


@short_memo(_NAMES_KEPT, _LONGEST_NAME_KEPT, keeps=_is_no_key)
def _read_in_response(name: bytes) -> bytes | None:
    """Return a name in lower case if a response's line of that name must be looked at; None if it only passes."""
    lower = name.lower()
    return lower if lower in _READ_IN_RESPONSES else None


def _passes_with_underscores(name: bytes) -> bool:
    """Whether a line whose name has underscores may go on; raises MalformedRequest for framing.

    CGI, WSGI and their kin hand `Content_Length` and `Content-Length` to a
    program under one name, so a line that they would take for one of those
    that decide something never passes.
    """
    dashed = name.replace(b"_", b"-")
    if dashed in _FRAMING:
        raise MalformedRequest("A framing header is spelt with an underscore.")
    return dashed not in _NOT_IN_UNDERSCORES


def _delete(pairs: HeaderPairs, gone: list[int]) -> None:
    """Take the lines out that stand at `gone`, in ascending order: nearly always one or two."""
    if len(gone) > _FEW:
        dropped = set(gone)
        pairs[:] = [pair for at, pair in enumerate(pairs) if at not in dropped]
    else:
        for at in reversed(gone):
            del pairs[at]


def scan_request(pairs: HeaderPairs, http11: bool, pseudonym: bytes) -> RequestHead:
    """Read a request's header lines; O(number of lines).

    `pairs` have passed llhttp: names are tokens, values hold no control
    characters. Raises MalformedRequest for what llhttp leaves open: Host,
    repeated or contradicting framing, transfer codings other than chunked.
    """
    forward = pairs.copy()
    gone: list[int] = []
    host: bytes | None = None
    length: int | None = None
    codings = 0
    vias = 0
    expects = encoded = False
    upgrade = content_type = b""
    tokens: set[bytes] = set()
    decides = _decides_in_request
    for at, name in [(at, name) for at, pair in enumerate(pairs) if (name := decides(pair[0])) is not None]:
        if name not in NOTABLE:
            if not _passes_with_underscores(name):
                gone.append(at)
            continue
        if name in _STOPS_HERE:
            gone.append(at)
        value = pairs[at][1].strip(b" \t")
        if name == b"content-length":
            if length is not None or not is_length(value):
                raise MalformedRequest("Invalid or repeated Content-Length.")
            length = int(value)
            if value[0] == _ZERO and len(value) > 1:  # leading zeros make it octal for some servers
                forward[at] = pairs[at][0], b"%d" % length
        elif name == b"content-type":
            content_type = media_type(value)
        elif name == b"host":
            if host is not None or not is_host(value):
                raise MalformedRequest("Invalid or repeated Host.")
            host = value
        elif name == b"connection":
            tokens.update(_tokens(value))
        elif name == b"proxy-connection":
            tokens.update(_tokens(value) & _CLOSE)
        elif name == b"transfer-encoding":
            codings += 1
            if codings > 1 or value.lower() != b"chunked" or not http11:
                raise MalformedRequest("The only transfer coding understood is a single chunked.")
        elif name == b"via":
            vias += sum(1 for hop in value.split(b",") if hop.split()[1:2] == [pseudonym])
        elif name == b"expect":
            # An expectation that is not understood, or not of this version, may be ignored (RFC 9110 §10.1.1).
            if http11 and value.lower() == b"100-continue" and not expects:
                expects = True
            else:
                gone.append(at)
        elif name == b"content-encoding":
            encoded = encoded or value.lower() not in (b"", b"identity")
        elif name == b"upgrade":
            # a list, of which one protocol concerns us (RFC 9110 §7.8)
            upgrade = b"websocket" if b"websocket" in _tokens(value) else upgrade or value.lower()
    if http11 and host is None:
        raise MalformedRequest("A Host header is required.")
    if codings and length is not None:
        raise MalformedRequest("Content-Length and Transfer-Encoding exclude each other.")
    _delete(forward, gone)
    if tokens and (nominated := tokens - _NOT_NOMINATED):
        forward = [pair for pair in forward if pair[0].lower() not in nominated]
    return RequestHead(
        forward=forward,
        host=host,
        content_length=length,
        chunked=bool(codings),
        keep_alive=(b"close" not in tokens)
        if http11
        else (b"keep-alive" in tokens and b"close" not in tokens),
        expects_continue=expects and (bool(codings) or bool(length)),
        upgrade=upgrade if http11 and b"upgrade" in tokens else b"",
        vias=vias,
        content_type=content_type,
        encoded=encoded,
    )


class ReadLines(list[tuple[bytes, bytes]]):
    """A response's header pairs that carry what somebody has read in them already.

    `media` are media type and content coding, as `body_headers` reads them,
    `request_id` the first `x-request-id`, as `get` does, `content_length` what
    `announced_length` returns. Whoever changes headers makes a new list, which
    has none of them.
    """

    __slots__ = ("content_length", "media", "request_id")
    content_length: int | None
    media: tuple[bytes, bytes]
    request_id: bytes | None


def one_coding(codings: list[bytes]) -> bytes:
    """Return the values of all Content-Encoding lines as one list in lower case, as `codings_of` (RFC 9110 §8.4)."""
    return b", ".join(codings_of(b",".join(codings))) if codings else b""


@define(eq=False, repr=False)
class ResponseHead:
    """What a response's header section says, in one pass over it. Never mutated."""

    forward: HeaderPairs
    """The lines without the hop-by-hop ones, order and case kept."""
    content_length: int | None
    chunked: bool
    closing: bool
    """A Connection line says close."""


def scan_response(pairs: HeaderPairs) -> ResponseHead:
    """Read a response's header lines, which have passed llhttp; O(number of lines).

    Raises UpstreamProtocolError for framing that two readers could
    understand differently. A Content-Length goes on without leading zeros:
    some clients would read octal.
    """
    forward = ReadLines(pairs)
    gone: list[int] = []
    kind, contents = b"", list[bytes]()
    request_id: bytes | None = None
    length: int | None = None
    codings = 0
    closing = False
    nominated: set[bytes] = set()
    read = _read_in_response
    for at, name in [(at, name) for at, pair in enumerate(pairs) if (name := read(pair[0])) is not None]:
        value = pairs[at][1]
        if name == b"content-length":
            if length is not None or not is_length(value.strip(b" \t")):
                raise UpstreamProtocolError.because("Duplicate or malformed Content-Length")
            length = int(value)
            forward[at] = pairs[at][0], b"%d" % length
            continue
        if name == b"content-type":
            kind = media_type(value)
            continue
        if name == b"x-request-id":
            request_id = value.strip(b" \t") if request_id is None else request_id
            continue
        if name == b"content-encoding":
            contents.append(value.strip())
            continue
        gone.append(at)
        if name == b"transfer-encoding":
            codings += 1
            # as llhttp has it: with a tab after it this is no chunked, but a body until the end
            if codings > 1 or value.rstrip(b" ").lower() != b"chunked":
                raise UpstreamProtocolError.because("Transfer-Encoding is not chunked, once")
        elif name == b"connection":
            nominated.update(_tokens(value))
            closing = closing or b"close" in value.lower()
    if length is not None and codings:
        raise UpstreamProtocolError.because("Transfer-Encoding can't be present with Content-Length")
    _delete(forward, gone)
    if nominated and (nominated := nominated - _ALWAYS_JUDGED):
        forward = ReadLines([pair for pair in forward if pair[0].lower() not in nominated])
        request_id = None if b"x-request-id" in nominated else request_id
    forward.media = kind, one_coding(contents)
    forward.request_id = request_id
    forward.content_length = length
    return ResponseHead(forward, length, bool(codings), closing)


def has_controls(text: bytes) -> bool:
    """Whether a reason phrase holds what RFC 9112 §4 leaves out of it; llhttp lets NUL and others through."""
    return text.translate(None, _CONTROLS) != text


def announced_length(pairs: HeaderPairs) -> int | None:
    """Return the Content-Length of a response's lines, None if there is none; they have one at most."""
    if isinstance(pairs, ReadLines):
        return pairs.content_length
    for name, value in pairs:
        if len(name) == 14 and name.lower() == b"content-length":
            return int(value)
    return None


def get(pairs: HeaderLines, name: bytes) -> bytes | None:
    """Return the first value of `name` (given in lower case), stripped, or None."""
    length = len(name)
    for key, value in pairs:
        if len(key) == length and key.lower() == name:
            return value.strip(b" \t")
    return None


def without(pairs: HeaderPairs, *names: bytes) -> HeaderPairs:
    """Return the lines whose lower-cased name is not among `names`."""
    return [pair for pair in pairs if pair[0].lower() not in names]

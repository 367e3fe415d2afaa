"""The first line of a request, judged by its bytes (RFC 9112 §3). Pure.

llhttp reads more than one spelling of it: RTSP and ICE, HTTP/0.9, several
spaces, a bare line feed at its end. What is forwarded is written anew, so a
server behind this proxy might read another request than this proxy did.
Only one spelling passes: a token, a target of visible ASCII, HTTP/1.0 or
HTTP/1.1, a single space between them, and CRLF.
"""

from __future__ import annotations

import re

from ..exchange.errors import MalformedRequest, ProxyError, URITooLong

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
WHOLE_LINE = re.compile(rb"(%b) ([\x21-\x7e]+) HTTP/1\.[01]\r\n" % _TOKEN)
_BEGUN_LINE = re.compile(rb"%b(?: (?:[\x21-\x7e]+(?: [\x21-\x7e]*\r?)?)?)?" % _TOKEN)
_OTHER_VERSION = re.compile(rb"%b [\x21-\x7e]+ [A-Za-z]+/[0-9.]+\r?\n" % _TOKEN)
_TLS_RECORD = re.compile(rb"\x16(?:\x03[\x00-\x04]?)?\Z|\x16\x03[\x00-\x04]")
"""A TLS handshake record, or as much of one as has arrived (RFC 8446 §5.1)."""
_LONGEST_METHOD = 64

TLS_ON_A_PLAIN_PORT = (
    "A TLS handshake arrived at a port of this proxy that speaks plain HTTP. "
    "Call it with http:// instead of https://, or let the proxy listen with an ssl: endpoint."
)


def judge_start(data: bytes, target_limit_bytes: int) -> ProxyError | None:
    """Say why `data` cannot begin a request; None while it can.

    `data` is what has arrived of a message, without empty lines before it,
    and does not match WHOLE_LINE.
    """
    if _TLS_RECORD.match(data):
        return MalformedRequest(TLS_ON_A_PLAIN_PORT) if len(data) >= 3 else None
    if b"\n" in data:
        if _OTHER_VERSION.match(data):
            return MalformedRequest("Only HTTP/1.1 and HTTP/1.0 are spoken here.")
        return MalformedRequest()
    method, space, rest = data.partition(b" ")
    if len(method) > _LONGEST_METHOD or _BEGUN_LINE.fullmatch(data) is None:
        return MalformedRequest()
    target = rest.partition(b" ")[0]
    if space and len(target) > target_limit_bytes:
        return URITooLong.above(target_limit_bytes)
    if len(rest) - len(target) > _LONGEST_METHOD:
        return MalformedRequest()
    return None


def has_line(read: bytes, method: bytes, target: bytes) -> bool:
    """Return whether a first line with this method and target stands somewhere in `read`, spelled as it must be."""
    line = b"%b %b HTTP/1." % (method, target)
    at = read.find(line)
    while at >= 0:
        if WHOLE_LINE.match(read, at):
            return True
        at = read.find(line, at + 1)
    return False

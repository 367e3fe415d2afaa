"""Requests and responses put together from pieces that mean something to a parser, and broken a little."""

from __future__ import annotations

from pathlib import Path
from random import Random

CORPUS = Path(__file__).parent / "corpus"

NOISE = [bytes([byte]) for byte in (0, 9, 10, 11, 12, 13, 32, 34, 44, 48, 58, 59, 95, 127, 128, 160, 255)]
NOISE += [b"\r\n", b"\n\n", b"\r\n\r\n", b"\r\r\n", b" \r\n", b"\r\n ", b"0", b"1", b"HTTP/1.1", b"RTSP/1.0"]
METHODS = [
    b"GET",
    b"POST",
    b"POST",
    b"POST",
    b"PUT",
    b"DELETE",
    b"HEAD",
    b"OPTIONS",
    b"PATCH",
    b"FOO",
    b"CONNECT",
    b"get",
]
TARGETS = [
    b"/v1/files", b"/v1/files", b"/v1/models", b"/v1/files/a%20b?x=%0a", b"/v1/chat/completions", b"/files/x;y",
    b"/v1/files/%2e%2e", b"/v1/files/..;/x", b"http://a/v1/files", b"*", b"/", b"/health", b"/v1/a#b", b"a:1", b"//x",
]  # fmt: skip
VERSIONS = [b"HTTP/1.1"] * 12 + [
    b"HTTP/1.0",
    b"HTTP/1.2",
    b"HTTP/0.9",
    b"RTSP/1.0",
    b"ICE/1.0",
    b"http/1.1",
    b"",
    b"HTTP/2.0",
]
FIELDS = [
    b"X: y", b"X:y", b"X:", b"X: a  b \t", b"x-a: \xe2\x82\xac", b"X : y", b" folded", b"\tfolded", b"X", b": y",
    b"Connection: close", b"Connection: keep-alive", b"Connection: x, content-length", b"Connection: Upgrade",
    b"Upgrade: websocket", b"Upgrade: h2c", b"TE: trailers", b"Trailer: x", b"Keep-Alive: timeout=5",
    b"Expect: 100-continue", b"Expect: y 100-continue", b"Content_Length: 3", b"Transfer_Encoding: chunked",
    b"Content-Type: application/json", b"Content-Type: text/plain", b"Content-Encoding: gzip", b"Via: 1.1 x",
    b"Cookie: a=b", b"Authorization: Bearer sk-x", b"Proxy-Connection: close", b"Set-Cookie: a", b"Host: b",
    b"X: a\x01b", b"X: a\x7fb", b"X: \x0bchunked", b"X_Y: z",
]  # fmt: skip
FRAMINGS = [
    b"Content-Length: %d", b"Content-Length: %d", b"content-length: %d", b"Content-Length: 0%d", b"Content-Length:%d",
    b"Content-Length: +%d", b"Content-Length: %d, %d", b"Content-Length: %d ", b"Content-Length: -%d", b"Content-Length: 0x%d",
]  # fmt: skip
CODINGS = [
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", b"transfer-encoding:chunked", b"Transfer-Encoding: Chunked ",
    b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: identity",
    b"Transfer-Encoding: chunked\t", b"Transfer-Encoding: xchunked", b"Transfer-Encoding:",
]  # fmt: skip
SIZES = [
    b"%x",
    b"%x",
    b"%X",
    b"0%x",
    b"%x;a=b",
    b"%x ;a",
    b"%x ",
    b"%x\t",
    b" %x",
    b"0x%x",
    b"%x;",
    b'%x;a="b\\"c"',
    b"+%x",
]
BODIES = [
    b"",
    b"a",
    b"hello",
    b"{}",
    b"0\r\n\r\n",
    b"GET /v1/files/SMUGGLED HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\n\r\n",
    b"x" * 70,
]
STATUSES = [
    b"200 OK",
    b"200 OK",
    b"200",
    b"404 Not Found",
    b"204 No Content",
    b"304 Not Modified",
    b"500 \xff",
    b"200 O\tK",
    b"429 Too Many",
    b"99 X",
    b"1000 X",
    b"200\tOK",
    b"600 X",
]
INTERIM = [b"100 Continue", b"103 Early Hints", b"104 X", b"150 X", b"101 Switching Protocols", b"199 X"]


def chunked(random: Random, body: bytes) -> bytes:
    """Return `body` in chunks, mostly well formed, with trailers now and then."""
    parts = []
    while body:
        size = random.randint(1, len(body))
        form = random.choice(SIZES) if random.random() < 0.3 else b"%x"
        parts.append(form % size + b"\r\n" + body[:size] + b"\r\n")
        body = body[size:]
    last = b"0" if random.random() < 0.85 else random.choice([b"00", b"0;x", b"0 ", b"", b"0\n"])
    trailers = b"" if random.random() < 0.8 else random.choice(FIELDS) + b"\r\n"
    return b"".join(parts) + last + b"\r\n" + trailers + b"\r\n"


def framed(random: Random, lines: list[bytes]) -> bytes:
    """Add a body's framing to `lines`, mostly right; return the body as it goes on the wire."""
    body = random.choice(BODIES)
    kind = random.random()
    if kind < 0.45:
        form = random.choice(FRAMINGS) if random.random() < 0.3 else b"Content-Length: %d"
        size = len(body) if random.random() < 0.9 else random.randint(0, 80)
        lines.insert(random.randint(0, len(lines)), form.replace(b"%d", b"%d" % size))
    elif kind < 0.8:
        form = random.choice(CODINGS) if random.random() < 0.3 else b"Transfer-Encoding: chunked"
        lines.insert(random.randint(0, len(lines)), form)
        return chunked(random, body)
    elif kind < 0.85:
        lines += [b"Content-Length: %d" % len(body), random.choice([*CODINGS, b"Content-Length: 5"])]
    else:
        return b"" if random.random() < 0.9 else body
    return body


def fields(random: Random) -> list[bytes]:
    return [random.choice(FIELDS) for _ in range(random.choice([0, 0, 1, 1, 2, 4]))]


def make_request(random: Random) -> bytes:
    """Return one request."""
    odd = random.random()
    method = random.choice(METHODS) if odd < 0.3 else b"POST"
    target = random.choice(TARGETS) if random.random() < 0.3 else b"/v1/files"
    version = random.choice(VERSIONS) if random.random() < 0.15 else b"HTTP/1.1"
    space = random.choice([b"  ", b"\t", b"\n", b"\r"]) if random.random() < 0.04 else b" "
    lines = fields(random)
    if random.random() < 0.95:
        lines.insert(random.randint(0, len(lines)), b"Host: a")
    body = framed(random, lines)
    end = random.choice([b"\n", b"\r"]) if random.random() < 0.03 else b"\r\n"
    before = random.choice([b"\r\n", b"\n", b"\r", b" "]) if random.random() < 0.05 else b""
    return before + end.join([method + space + target + b" " + version, *lines, b"", b""]) + body


def make_response(random: Random) -> bytes:
    """Return one response, with interim ones before it now and then."""
    raw = b""
    while random.random() < 0.15:
        lines = fields(random)
        body = framed(random, lines) if random.random() < 0.3 else b""
        raw += b"\r\n".join([b"HTTP/1.1 " + random.choice(INTERIM), *lines, b"", b""]) + body
    status = random.choice(STATUSES) if random.random() < 0.25 else b"200 OK"
    version = random.choice(VERSIONS) if random.random() < 0.1 else b"HTTP/1.1"
    lines = fields(random)
    body = framed(random, lines)
    end = b"\n" if random.random() < 0.02 else b"\r\n"
    return raw + end.join([version + b" " + status, *lines, b"", b""]) + body


def broken(random: Random, raw: bytes) -> bytes:
    """Return `raw` with a few bytes changed, taken out or put in, one time in two."""
    if random.random() < 0.5:
        return raw
    data = bytearray(raw)
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        at = random.randint(0, len(data))
        width = random.choice([0, 0, 1, 1, 2])
        data[at : at + width] = random.choice([b"", *NOISE])
    return bytes(data)


def pieces(random: Random, raw: bytes) -> list[bytes]:
    """Cut `raw` at random: whole, byte by byte, or in a few places."""
    kind = random.random()
    if kind < 0.2:
        return [raw]
    if kind < 0.3:
        return [raw[at : at + 1] for at in range(len(raw))]
    cuts = sorted(random.randint(0, len(raw)) for _ in range(random.randint(1, 5)))
    return [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True) if a < b]


def corpus(kind: str) -> list[bytes]:
    """Return the messages that are kept in the corpus: `requests` or `responses`."""
    return [path.read_bytes() for path in sorted((CORPUS / kind).glob("*"))]

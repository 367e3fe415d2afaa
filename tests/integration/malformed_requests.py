"""Hand-picked raw requests that no honest client sends: smuggling, sizes, characters, sequences.

Each case is (name, bytes, at most so many requests upstream). `MARK` is a
request hidden after or inside another one: it must never go up.
"""

from world.requests import AUTHORIZATION as A

MARK = b"GET /v1/files/SMUGGLED HTTP/1.1\r\nHost: a\r\n" + A + b"\r\n"
G = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n" + A
F = b"POST /v1/files HTTP/1.1\r\nHost: a\r\n" + A
J = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n" + A
CHUNKED = b"Transfer-Encoding: chunked\r\n"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"


def _content_lengths():
    values = [
        b"", b" ", b"+5", b"-5", b"-0", b"5.0", b"5 5", b"5,5", b"5, 5", b"5,6", b"0x5", b"5e0", b"1_0", b"five",
        b"\xd9\xa5", b"\xb2", b"5;", b"5\t5", b"'5'", b"5\x00", b"\x0b5", b"5h", b"99999999999999999999",
        b"18446744073709551621", b"-18446744073709551611", b"9" * 4400, b"05x", b"[5]", b"%35", b"\xef\xbc\x95",
    ]  # fmt: skip
    for value in values:
        yield f"length {value[:24]!r}", F + b"Content-Length: " + value + b"\r\n\r\nhello" + MARK, 0
    pairs = [
        (b"5", b"5"), (b"5", b"6"), (b"0", b"5"), (b"5", b"0"), (b"5", b""), (b"5", b"x"), (b"5", b"05"),
    ]  # fmt: skip
    for one, two in pairs:
        lines = b"Content-Length: %b\r\ncontent-length: %b\r\n\r\n" % (one, two)
        yield f"lengths {one!r} and {two!r}", F + lines + b"hello" + MARK, 0


def _transfer_codings():
    values = [
        b"", b"identity", b"gzip", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"chunked,", b",chunked",
        b"xchunked", b"chunkedx", b"chunked x", b"x chunked", b"chunked;q=1", b'"chunked"', b"'chunked'", b"chunke\xe4",
        b"chunk\xc5\xbfed", b"\x0bchunked", b"\x0cchunked", b"chunked\x0b", b"chunked\x00", b"\x00chunked",
        b"chunked\xa0", b"\xa0chunked", b"ch\tunked", b"chunked, identity", b"identity, chunked", b"deflate",
        b"cow", b"chunked\x7f", b"chunked\r", b"chunked\rX: y",
    ]  # fmt: skip
    for value in values:
        yield f"coding {value!r}", F + b"Transfer-Encoding: " + value + b"\r\n\r\n" + HELLO + MARK, 0
    lines = {
        "space before colon": b"Transfer-Encoding : chunked\r\n",
        "tab before colon": b"Transfer-Encoding\t: chunked\r\n",
        "folded": b"Transfer-Encoding:\r\n chunked\r\n",
        "leading space": b" Transfer-Encoding: chunked\r\n",
        "twice": CHUNKED * 2,
        "chunked and identity": CHUNKED + b"Transfer-Encoding: identity\r\n",
        "identity and chunked": b"Transfer-Encoding: identity\r\n" + CHUNKED,
        "nul in name": b"Transfer\x00-Encoding: chunked\r\n",
        "behind bare lf and length": b"X: y\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "behind bare cr": b"X: y\rTransfer-Encoding: chunked\r\n",
        "length first": b"Content-Length: 5\r\n" + CHUNKED,
        "length second": CHUNKED + b"Content-Length: 5\r\n",
        "length zero": CHUNKED + b"Content-Length: 0\r\n",
        "length in capitals": CHUNKED + b"CONTENT-LENGTH: 5\r\n",
        "length nominated": CHUNKED + b"Content-Length: 5\r\nConnection: content-length\r\n",
        "coding nominated": CHUNKED + b"Content-Length: 5\r\nConnection: transfer-encoding\r\n",
        "te instead": b"TE: chunked\r\nTransfer-Encoding: x\r\n",
    }
    for name, line in lines.items():
        yield f"coding line {name}", F + line + b"\r\n" + HELLO + MARK, 0
    old = b"POST /v1/files HTTP/1.0\r\nHost: a\r\n" + A
    yield "coding in 1.0", old + CHUNKED + b"\r\n" + HELLO + MARK, 0
    yield "coding and length in 1.0", old + CHUNKED + b"Content-Length: 5\r\n\r\n" + HELLO + MARK, 0


def _chunks():
    sizes = [
        b"0x5", b"+5", b"-5", b"0_5", b" 5", b"", b"g", b"5g", b"5,5", b"5 5", b"\xd9\xa5", b"5\x00", b"5\x0b",
        b"FFFFFFFFFFFFFFFFF", b"F" * 1000, b"10000000000000005", b"\t5", b"5.", b"'5'", b"5\r", b"\n5", b"5;a\x00b",
    ]  # fmt: skip
    for base, kind in ((F, "stream"), (J, "json")):
        for size in sizes:
            raw = base + CHUNKED + b"\r\n" + size + b"\r\nhello\r\n0\r\n\r\n" + MARK
            yield f"chunk size {size[:24]!r} {kind}", raw, 1
    bodies = {
        "too long": b"5\r\nhellooo\r\n0\r\n\r\n",
        "too short": b"5\r\nhell\r\n0\r\n\r\n",
        "no end of data": b"5\r\nhello0\r\n\r\n",
        "lf behind data": b"5\r\nhello\n0\r\n\r\n",
        "cr behind data": b"5\r\nhello\r0\r\n\r\n",
        "lf behind size": b"5\nhello\r\n0\r\n\r\n",
        "cr behind size": b"5\rhello\r\n0\r\n\r\n",
        "lf behind last": b"5\r\nhello\r\n0\n\n",
        "lf in extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        "huge extension": b"5;" + b"x" * 1_000_000 + b"\r\nhello\r\n0\r\n\r\n",
        "many extensions": b"".join(b"1;%b\r\nx\r\n" % (b"e" * 400) for _ in range(2000)) + b"0\r\n\r\n",
        "trailer without colon": b"5\r\nhello\r\n0\r\ntrailer\r\n\r\n",
        "trailer with nul": b"5\r\nhello\r\n0\r\nX: a\x00b\r\n\r\n",
        "trailer folded": b"5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n",
        "huge trailer": b"5\r\nhello\r\n0\r\nX: " + b"t" * 1_000_000 + b"\r\n\r\n",
    }
    for name, body in bodies.items():
        yield f"chunk {name}", F + CHUNKED + b"\r\n" + body + MARK, 1
    for name, trailer in {
        "length": b"Content-Length: 90\r\n",
        "coding": CHUNKED,
        "host": b"Host: evil.test\r\n",
        "authorization": b"Authorization: Bearer sk-evil\r\n",
        "connection": b"Connection: upgrade\r\nUpgrade: websocket\r\n",
    }.items():
        raw = F + CHUNKED + b"Connection: close\r\n\r\n5\r\nhello\r\n0\r\n" + trailer + b"\r\n" + MARK
        yield f"trailer {name}", raw, 1


_WELL_FRAMED = (b"GET * ", b"GET /v1/models#", b"TRACE ", b"PROPFIND ", b"QUERY ", b"GET //")
"""Lines that are refused for what they ask: a request after them is a separate one."""


def _request_lines():
    for line in [
        b"GET", b"GET /v1/models", b"GET  HTTP/1.1", b"GET /v1/models HTTP/1.1 x", b"GET /v1/mod els HTTP/1.1",
        b"GET /v1/models HTTP/2.0", b"GET /v1/models HTTP/0.9", b"GET /v1/models HTTP/3.0", b"GET /v1/models HTTP/1.10",
        b"GET /v1/models http/1.1", b"GET /v1/models HTTP/11", b"GET /v1/models HTTP/1.", b"GET /v1/models HTTP/-1.1",
        b"GET /v1/models HTTP/1,1", b"GET /v1/models XTTP/1.1", b"GET /v1/models HTTPS/1.1", b"GET\t/v1/models HTTP/1.1",
        b"GET\t/v1/models\tHTTP/1.1", b" GET /v1/models HTTP/1.1", b"\tGET /v1/models HTTP/1.1", b"\x00",
        b"GET /v1/models HTTP/1.1\x00", b"G\xe9T /v1/models HTTP/1.1", b"G(T /v1/models HTTP/1.1", b"PRI * HTTP/2.0",
        b"GET /v1/mod\x00els HTTP/1.1", b"GET /v1/mod\x7fels HTTP/1.1", b"GET /v1/mod\x1bels HTTP/1.1",
        b"GET /v1/mod\tels HTTP/1.1", b"GET v1/models HTTP/1.1", b"GET ../v1/models HTTP/1.1", b"GET ?x HTTP/1.1",
        b"GET * HTTP/1.1", b"GET @evil.test/v1/models HTTP/1.1", b"GET evil.test:80 HTTP/1.1", b"{} {} HTTP/1.1",
        b"GET /v1/models#f HTTP/1.1", b"SSH-2.0-OpenSSH_9.6", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x05\x01\x00", b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2", b"GET /v1/models\xc2\xa0HTTP/1.1", b"get /v1/models HTTP/1.1",
        b"GETX /v1/models HTTP/1.1", b"TRACE /v1/models HTTP/1.1", b"CONNECT evil.test:443 HTTP/1.1",
        b"CONNECT /v1/models HTTP/1.1", b"DESCRIBE /v1/models RTSP/1.0", b"SOURCE /v1/models ICE/1.0",
        b"PROPFIND /v1/models HTTP/1.1", b"QUERY /v1/models HTTP/1.1",
        b"A" * 300 + b" /v1/models HTTP/1.1", b"GET " + b"/" * 300 + b" HTTP/1.1", b"GET /v1/" + b"a" * 17000 + b" HTTP/1.1",
    ]:  # fmt: skip
        behind = b"" if line.startswith(_WELL_FRAMED) else MARK
        yield f"line {line[:48]!r}", line + b"\r\nHost: a\r\n" + A + b"\r\n" + behind, 0


def _targets():
    for target in [
        b"/v1/..", b"/v1/../v1/models", b"/v1/models/..", b"/v1/models/../files", b"/v1/./models", b"/v1/models/.",
        b"/v1//models", b"//v1/models", b"//evil.test/v1/models", b"/v1/models//", b"/v1/%2e%2e/x", b"/v1/%2E%2e/x",
        b"/v1/.%2e/x", b"/v1/models/%2e", b"/v1/a%2f..%2fb", b"/v1/a%2f%2fb", b"/v1/a\\b", b"/v1/a%5cb", b"/v1/..%5cb",
        b"/v1/a%00b", b"/v1/..;/x/..", b"http://evil.test/v1/models", b"https://evil.test/v1/models",
        b"http://a@evil.test/v1/models", b"HTTP://evil.test/", b"http:///v1/models", b"http:/v1/models",
        b"ftp://a/v1/models", b"file:///etc/passwd", b"/v1", b"/v1/v1", b"/v1/v1/", b"/admin/../v1/models", b"/etc/passwd",
        b"/.env", b"/%2e%2e/%2e%2e/etc/passwd", b"/v1x/models", b"/V1/models", b"/Models", b"/v1/models/..%2f..",
    ]:  # fmt: skip
        yield (
            f"target {target!r}",
            b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n" + A + b"Connection: close\r\n\r\n",
            0,
        )


def _header_lines():
    for line in [
        b"X-A : b", b"X-A\t: b", b" X-A: b", b"\tX-A: b", b": x", b":", b"foo", b"foo bar", b"X: a\x00b", b"X\x00Y: a",
        b"X Y: a", b"X(Y): a", b"X\xe9: a", b"X@Y: a", b'X"Y: a', b"X/Y: a", b"X[Y]: a", b"X{Y}: a", b"X=Y: a", b"\x7f: a",
        b"\x0b: a", b"X: a\r\n folded", b"X: a\r\n\tfolded", b"X: a\r\n: b", b"X: a\rb", b"X\r: a", b"\x00: b", b"X,Y: a",
        b"Host: b", b"host: a", b"Host:", b"Connection: close\r\nHost: evil.test", b"=: x", b"X;Y: a",
    ]:  # fmt: skip
        yield f"header {line!r}", G + line + b"\r\n\r\n" + MARK, 0
    for host in [
        b"", b"Host: a b\r\n", b"Host: a,b@c\r\n", b"Host: user@a\r\n", b"Host: a/b\r\n", b"Host: a:b\r\n", b"Host: a:80:80\r\n",
        b"Host: http://a\r\n", b"Host: a\\b\r\n", b"Host: a?b\r\n", b"Host: a#b\r\n", b"Host: [::1\r\n", b"Host: \xe9\r\n",
        b"Host: <a>\r\n", b'Host: "a"\r\n', b"Host: a\r\nHost: a\r\n", b"Host : a\r\n", b"Host: a\r\n b\r\n",
    ]:  # fmt: skip
        yield f"host {host!r}", b"GET /v1/models HTTP/1.1\r\n" + host + A + b"\r\n" + MARK, 0


def _sizes():
    many = b"".join(b"X-%d: y\r\n" % number for number in range(250))
    yield "201 lines", G + many + b"\r\n" + MARK, 0
    yield "one line of 70 KiB", G + b"X: " + b"v" * 70_000 + b"\r\n\r\n" + MARK, 0
    yield "one name of 70 KiB", G + b"X" * 70_000 + b": v\r\n\r\n" + MARK, 0
    yield "80 lines of 1 KiB", G + (b"X: " + b"v" * 1000 + b"\r\n") * 80 + b"\r\n" + MARK, 0
    yield "1 MiB without a line end", b"A" * (1 << 20), 0
    yield "1 MiB of NUL", b"\x00" * (1 << 20), 0
    yield "1 MiB of line ends", b"\r\n" * (1 << 19), 0
    yield "endless head", G + (b"X: " + b"v" * 1000 + b"\r\n") * 2000, 0
    yield (
        "target of 70 KiB",
        b"GET /v1/models?" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n" + A + b"\r\n",
        0,
    )
    yield "target without an end", b"GET /v1/" + b"a" * 300_000, 0
    yield "length above the limit", J + b"Content-Length: 999999999999\r\n\r\n{}", 0


def _sequences():
    yield "nothing", b"", 0
    yield "one byte", b"G", 0
    yield "empty lines", b"\r\n\r\n\r\n", 0
    yield "head without an end", G, 0
    yield "head without an end, 1.0", b"GET /v1/models HTTP/1.0\r\n", 0
    yield "body without an end", F + b"Content-Length: 500\r\n\r\nhello", 1
    yield "json without an end", J + b"Content-Length: 500\r\n\r\n{", 0
    yield "chunks without an end", F + CHUNKED + b"\r\n5\r\nhello\r\n", 1
    yield "chunk cut in its size", F + CHUNKED + b"\r\n5", 1
    yield "bad second request", G + b"\r\nGET /v1/models HTTP/1.1\r\nbad\r\n\r\n" + MARK, 1
    yield "second request without host", G + b"\r\nGET /v1/models HTTP/1.1\r\n" + A + b"\r\n" + MARK, 1
    yield "garbage behind a request", G + b"\r\n\x00\x01\x02" + MARK, 1
    yield "tls behind a request", G + b"\r\n\x16\x03\x01\x02\x00" + MARK, 1
    yield "close and one more", G + b"Connection: close\r\n\r\n" + MARK, 1
    yield "1.0 and one more", b"GET /v1/models HTTP/1.0\r\n" + A + b"\r\n" + MARK, 1
    yield "refused body is no request", J + b"Content-Length: %d\r\n\r\n%b" % (len(MARK), MARK), 0
    yield (
        "body of a 404 is no request",
        b"POST /nope HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b"
        % (
            len(MARK),
            MARK,
        ),
        0,
    )
    yield (
        "body of a 401 is no request",
        b"POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b"
        % (
            len(MARK),
            MARK,
        ),
        0,
    )
    yield "body of a get is no request", G + b"Content-Length: %d\r\n\r\n%b" % (len(MARK), MARK), 1
    yield (
        "upgrade with a body",
        F
        + b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: %d\r\n\r\n%b"
        % (
            len(MARK),
            MARK,
        ),
        1,
    )
    yield (
        "h2c with a body",
        F
        + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        + CHUNKED
        + b"\r\n%x\r\n%b\r\n0\r\n\r\n"
        % (
            len(MARK),
            MARK,
        ),
        1,
    )
    yield "connect and one more", b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n" + MARK, 0
    yield (
        "expect of a refused body",
        J + b"Expect: 100-continue\r\nContent-Length: 999999999999\r\n\r\n" + MARK,
        0,
    )
    yield "bare lf everywhere and length", (F + b"Content-Length: 500\r\n\r\n").replace(b"\r\n", b"\n"), 1
    yield "bare cr everywhere", (F + b"Content-Length: 5\r\n\r\nhello").replace(b"\r\n", b"\r") + MARK, 0


def _unique():
    names = set()
    groups = (
        _content_lengths, _transfer_codings, _chunks, _request_lines, _targets, _header_lines, _sizes, _sequences,
    )  # fmt: skip
    for group in groups:
        for name, raw, allowed in group():
            assert name not in names, name
            names.add(name)
            yield name, raw, allowed


CASES = list(_unique())

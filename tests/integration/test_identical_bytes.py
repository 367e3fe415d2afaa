"""The same request straight to the upstream and through the daemon: the same answer."""

import gzip
import hashlib
import queue

import pytest
from world.client import Client, ask
from world.requests import CHAT, KEY, chat, request
from world.waiting import PATIENCE_S

BINARY = hashlib.sha256(b"audio").digest() * 8192
COMMON = [
    (b"Date", b"Thu, 01 Jan 1970 00:00:00 GMT"),
    (b"SERVER", b"upstream-x"),
    (b"x-request-id", b"req_1"),
    (b"X-Request-ID", b"req_2"),
    (b"Set-Cookie", b"a=1; Path=/"),
    (b"openai-processing-ms", b"12"),
    (b"set-cookie", b"b=2"),
    (b"x-ratelimit-remaining-tokens", b"149984"),
    (b"X-Empty", b""),
    (b"X-Latin", "caf\u00e9".encode("latin-1")),
    (b"Strict-Transport-Security", b"max-age=31536000"),
]
SSE_ODD = (
    b": comment\r\rdata: a\r\n\r\nevent: x\ndata: b\ndata:c\n\n\n\nid: 7\rdata: \xe2\x80\xa8\r\n\r\n"
    b"retry: 10\r\n\r\ndata: \xff\xfe\n\n:\n\ndata: [DONE]\n\ndata: after\n\ndata: no end"
)


def counted(body, *headers, status=b"200 OK"):
    def script(call):
        call.read_body()
        call.reply(b"" if call.method == b"HEAD" else body, [*COMMON, *headers], status)

    return script


def chunked(*chunks, status=b"200 OK", media_type=b"text/event-stream"):
    def script(call):
        call.read_body()
        lines = b"".join(b"%b: %b\r\n" % pair for pair in COMMON)
        call.send(
            b"HTTP/1.1 %b\r\nContent-Type: %b\r\n%bTransfer-Encoding: chunked\r\n\r\n"
            % (status, media_type, lines)
        )
        for chunk in chunks:
            call.chunk(chunk)
        call.end_stream()

    return script


def closing(body):
    def script(call):
        call.read_body()
        lines = b"".join(b"%b: %b\r\n" % pair for pair in COMMON)
        call.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n%b\r\n%b" % (lines, body))
        call.finish()

    return script


def bare(head):
    def script(call):
        call.read_body()
        call.send(head)

    return script


def error(status, body, *headers):
    return counted(body, (b"Content-Type", b"application/json"), *headers, status=status)


JSON = (b"Content-Type", b"application/json")
ERROR = b'{\n  "error": {"message": "no", "type": "x", "param": null, "code": null}\n}'
CASES = {
    "json": (chat(), counted(b'{"a": 1,\t"b":[ ], "a": 2}\n', JSON)),
    "json-utf8": (chat(), counted('{"ü": "\u2028"}'.encode(), JSON)),
    "no-content-type": (chat(), counted(b"bytes")),
    "empty-content-type": (chat(), counted(b"x", (b"Content-Type", b""))),
    "gzip": (chat(), counted(gzip.compress(b"{}", mtime=0), JSON, (b"Content-Encoding", b"gzip"))),
    "gzip-torn": (chat(), counted(gzip.compress(b"{}", mtime=0)[:-3], JSON, (b"Content-Encoding", b"gzip"))),
    "br": (chat(), counted(b"\x0b\x01\x80{}\x03", JSON, (b"content-encoding", b"br"))),
    "binary": (
        request(b"POST", b"/v1/audio/speech", CHAT, b"Content-Type: application/json\r\n"),
        counted(BINARY),
    ),
    "empty-200": (request(), counted(b"")),
    "204": (request(b"DELETE", b"/v1/files/f"), bare(b"HTTP/1.1 204 No Content\r\nx-a: 1\r\n\r\n")),
    "304": (request(), bare(b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 99\r\n\r\n')),
    "head": (
        request(b"HEAD"),
        bare(b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nContent-Type: a/b\r\n\r\n"),
    ),
    "head-no-length": (request(b"HEAD"), bare(b"HTTP/1.1 200 OK\r\nX-A: b\r\n\r\n")),
    "options": (request(b"OPTIONS"), counted(b"", (b"Allow", b"GET"))),
    "reason": (request(), counted(b"x", status=b"200 Everything is fine")),
    "no-reason": (request(), bare(b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok")),
    "unknown-status": (request(), counted(b"x", status=b"299 Odd")),
    "redirect": (request(), counted(b"", (b"Location", b"https://elsewhere.test/"), status=b"302 Found")),
    "400": (chat(), error(b"400 Bad Request", ERROR)),
    "401": (chat(), error(b"401 Unauthorized", ERROR, (b"WWW-Authenticate", b"Bearer"))),
    "404": (chat(), error(b"404 Not Found", ERROR)),
    "429": (
        chat(),
        error(b"429 Too Many Requests", ERROR, (b"retry-after-ms", b"7"), (b"Retry-After", b"1")),
    ),
    "500": (chat(), error(b"500 Internal Server Error", b"<html>no json</html>")),
    "503-empty": (chat(), error(b"503 Service Unavailable", b"")),
    "chunked": (request(), chunked(b"a", b"b" * 70000, b"c", media_type=b"application/json")),
    "chunked-empty": (request(), chunked()),
    "sse": (chat(), chunked(b'data: {"a": 1}\n\n', b"data: [DONE]\n\n")),
    "sse-odd": (chat(), chunked(SSE_ODD)),
    "sse-torn": (chat(), chunked(*(SSE_ODD[i : i + 1] for i in range(len(SSE_ODD))))),
    "sse-error": (chat(), chunked(b"data: {}\n\n", status=b"429 Too Many Requests")),
    "close-delimited": (request(), closing(BINARY)),
    "close-delimited-empty": (request(), closing(b"")),
    "interim": (
        request(),
        bare(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"),
    ),
    "trailers": (
        request(),
        bare(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-T: 1\r\n\r\n"),
    ),
    "hop-by-hop": (
        request(),
        counted(b"x", (b"Connection", b"X-Hop"), (b"X-Hop", b"1"), (b"Keep-Alive", b"timeout=5")),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_answer_is_the_same_as_without_the_daemon(world, name):
    """Status, reason, header lines and body are what the upstream sent, byte for byte."""
    raw, script = CASES[name]
    world.upstream.script = script
    is_head = raw.startswith(b"HEAD")
    if name == "trailers":  # our own client reads none: only the daemon is asked
        answer = ask(world.port, raw)
        assert (answer.status, answer.body, answer.whole) == (200, b"x", True)
        return
    straight = ask(world.upstream.port, raw, head_only=is_head)
    proxied = ask(world.port, raw, head_only=is_head)
    assert straight.whole
    assert proxied.whole
    assert (proxied.status, proxied.reason) == (straight.status, straight.reason)
    expected = [pair_ for pair_ in straight.end_to_end if pair_[0] != b"X-Hop"]
    assert proxied.end_to_end == expected
    assert proxied.body == straight.body


def test_request_reaches_the_upstream_with_its_lines_as_sent(world):
    """Only Host and Via differ: order, case, repetition and odd values stay."""
    lines = (
        b"X-One: 1\r\nx-one: 2\r\nAccept-Encoding: br;q=1.0, gzip\r\nCookie: a=1\r\ncookie: b=2\r\n"
        b"OpenAI-Organization: org\r\nX-Empty: \r\nuser-agent: OpenAI/Python\r\nX-Latin: caf\xe9\r\n"
        b"X-Stainless-Retry-Count: 0\r\nReferer: x\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\n"
        b"TE: trailers\r\nProxy-Connection: x\r\nVia: 1.1 other\r\n"
    )
    assert ask(world.port, request(headers=lines)).status == 200
    call = world.upstream.calls[0]
    host, rest = call.headers[0], call.headers[1:]
    assert host == (b"Host", b"127.0.0.1:%d" % world.upstream.port)
    assert rest == [
        (b"Authorization", b"Bearer " + KEY.encode()),
        (b"X-One", b"1"),
        (b"x-one", b"2"),
        (b"Accept-Encoding", b"br;q=1.0, gzip"),
        (b"Cookie", b"a=1"),
        (b"cookie", b"b=2"),
        (b"OpenAI-Organization", b"org"),
        (b"X-Empty", b""),
        (b"user-agent", b"OpenAI/Python"),
        (b"X-Latin", b"caf\xe9"),
        (b"X-Stainless-Retry-Count", b"0"),
        (b"Referer", b"x"),
        (b"Via", b"1.1 other"),
        (b"Via", b"1.1 openai-proxy"),
    ]


@pytest.mark.parametrize(
    ("target", "upstream_target"),
    [
        (b"/v1/models", b"/v1/models"),
        (b"/models", b"/v1/models"),
        (b"/v1/v1/models", b"/v1/models"),
        (b"/v1/models/", b"/v1/models/"),
        (b"/v1/models/a%2Fb?x=%20&y=a+b&z", b"/v1/models/a%2Fb?x=%20&y=a+b&z"),
        (b"/files/f?", b"/v1/files/f?"),
        (b"/v1/new-thing/%E2%82%AC", b"/v1/new-thing/%E2%82%AC"),
        (b"/v1/files?a=../..//%2e%2e", b"/v1/files?a=../..//%2e%2e"),
    ],
)
def test_target_goes_up_byte_for_byte(world, target, upstream_target):
    """Percent-encoding and queries are nobody's business but the upstream's."""
    assert ask(world.port, request(target=target)).status == 200
    assert world.upstream.calls[0].target == upstream_target


@pytest.mark.parametrize(
    "raw",
    [
        chat(b'{ "messages":[],"model" : "m", "x": 1e400, "model":"n" }'),
        request(b"POST", b"/v1/files", b"\x00\xff" * 1000),
        request(b"POST", b"/v1/files", b""),
        request(b"PATCH", b"/v1/batches/b", b"patch"),
        request(b"DELETE", b"/v1/files/f", b"with a body"),
        request(b"POST", b"/v1/responses", b"not json", b"Content-Type: application/json\r\n"),
    ],
)
def test_body_goes_up_byte_for_byte(world, raw):
    """A body is never parsed and written anew."""
    assert ask(world.port, raw).status == 200
    assert world.upstream.calls[0].body == raw.partition(b"\r\n\r\n")[2]


def test_chunked_upload_arrives_whole(world):
    """A body without a length goes up chunk by chunk, its content unchanged."""
    parts = [b"a", b"b" * 70000, b"\r\n0\r\n\r\n"]
    raw = request(b"POST", b"/v1/files", headers=b"Transfer-Encoding: chunked\r\n")
    raw += b"".join(b"%x;ext=1\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    assert ask(world.port, raw).status == 200
    assert world.upstream.calls[0].body == b"".join(parts)
    assert world.upstream.calls[0].header(b"transfer-encoding") == b"chunked"


def test_requests_on_one_connection_are_answered_in_order(world):
    """A pipeline of three is three answers in the order of the questions."""
    with Client(world.port) as client:
        client.send(request(target=b"/v1/models/1") + chat() + request(target=b"/v1/models/3"))
        targets = [b'"/v1/models/1"', b'"/v1/chat/completions"', b'"/v1/models/3"']
        for target in targets:
            assert target in client.response().body


@pytest.mark.parametrize("keep", [b"", b"Connection: keep-alive\r\n"])
def test_http10_client_gets_a_body_it_can_read(world, keep):
    """An HTTP/1.0 client gets no chunks: the end of the connection is the end of the body."""
    world.upstream.script = chunked(b"a", b"b")
    answer = ask(world.port, request(headers=keep, version=b"HTTP/1.0"))
    assert (answer.status, answer.framing, answer.body, answer.whole) == (200, "close", b"ab", True)


def test_every_read_is_passed_on_at_once(world):
    """An event reaches the client while the upstream has not sent the next."""
    seen_by_client = queue.SimpleQueue()

    def script(call):
        call.start_stream()
        for number in range(3):
            call.chunk(b"data: %d\n\n" % number)
            assert seen_by_client.get(timeout=PATIENCE_S) == number
        call.end_stream()

    world.upstream.script = script
    with Client(world.port) as client:
        client.send(request())
        for number in range(3):
            client.read_until(b"data: %d\n\n" % number)
            seen_by_client.put(number)
        assert client.read_until(b"0\r\n\r\n").endswith(b"0\r\n\r\n")

"""Requests as a client's connection frames them, and those that it refuses by the head only."""

import pytest
from fakes import Downstream, error_of

GET = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /v1/files HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_request_is_the_same_in_any_pieces(size):
    """Whole or byte by byte: one request, one answer."""
    raw = POST + b"Content-Length: 5\r\nX: y\r\n\r\nhello"
    downstream = Downstream()
    answer = downstream.connect().send(*(raw[i : i + size] for i in range(0, len(raw), size)))
    assert answer == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    assert downstream.forward.bodies == [b"hello"]
    assert downstream.forward.requests[0].headers == [(b"Content-Length", b"5"), (b"X", b"y")]
    assert downstream.outcomes == ["complete"]


@pytest.mark.parametrize(
    ("raw", "limits", "expected"),
    [
        (b"GET /v1/m?" + b"a" * 99, {"target_bytes": 50}, (414, "uri_too_long")),
        (GET + b"X: " + b"y" * 600 + b"\r\n\r\n", {"header_bytes": 500}, (431, "headers_too_large")),
        (GET + b"X: y\r\n" * 9 + b"\r\n", {"header_count": 5}, (431, "headers_too_large")),
        (POST + b"Content-Length: 7\r\n\r\nabcdef", {"body_bytes": 5}, (413, "request_too_large")),
        (
            POST + b"Transfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n",
            {"body_bytes": 5},
            (413, "request_too_large"),
        ),
    ],
)
def test_sizes_are_limited(raw, limits, expected):
    """Each limit has its own answer."""

    async def reads(request):
        body = request.body
        return await body.read(1 << 20)

    connection = Downstream(reads, **limits).connect()
    answer = connection.send(raw)
    assert error_of(answer) == expected
    assert b"Connection: close\r\n" in answer


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        (GET, True),
        (GET + b"Connection: close\r\n", False),
        (GET.replace(b"1.1", b"1.0"), False),
        (GET.replace(b"1.1", b"1.0") + b"Connection: keep-alive\r\n", True),
    ],
)
def test_connection_is_kept_as_asked(raw, kept):
    """RFC 9112 §9.3, and the answer says so."""
    connection = Downstream().connect()
    answer = connection.send(raw + b"\r\n")
    assert b"Connection: close" not in answer if kept else b"Connection: close" in answer
    assert connection.ended == (None if kept else "closed")


def test_pages_are_rendered_by_ordinary_resources():
    """The service's own pages and the API share a port."""
    connection = Downstream().connect()
    answer = connection.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b'{"status":"healthy"}\n')
    assert error_of(connection.send(b"POST /health HTTP/1.1\r\nHost: a\r\n\r\n")) == (
        405,
        "method_not_allowed",
    )
    assert error_of(connection.send(b"GET /health/x HTTP/1.1\r\nHost: a\r\n\r\n")) == (404, "unknown_url")
    assert connection.ended is None


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"GET /nope HTTP/1.1\r\nHost: a\r\n\r\n", (404, "unknown_url")),
        (b"GET /v1/embeddings HTTP/1.1\r\nHost: a\r\n\r\n", (405, "method_not_allowed")),
        (b"GET http://evil.test/v1/models HTTP/1.1\r\nHost: a\r\n\r\n", (421, "misdirected_request")),
        (GET + b"Via: " + b"1.1 openai-proxy, " * 5 + b"1.1 x\r\n\r\n", (508, "proxy_loop")),
    ],
)
def test_refusals_by_the_head_alone(raw, expected):
    """What needs no body is decided before one is read."""
    downstream = Downstream()
    assert error_of(downstream.connect().send(raw)) == expected
    assert downstream.forward.requests == []


@pytest.mark.parametrize("method", [b"PROPFIND", b"BREW", b"get"], ids=["known", "unknown", "lower case"])
@pytest.mark.parametrize(
    ("target", "status", "allow"),
    [
        (b"/v1/models", 405, b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        (b"/embeddings?x", 405, b"POST, OPTIONS"),
        (b"/v1/chat/completions", 405, b"GET, HEAD, POST, OPTIONS"),
        (b"/health", 405, b"GET, HEAD, OPTIONS"),
        (b"/nope", 404, None),
        (b"/v1/../x", 400, None),
    ],
)
def test_foreign_methods_are_told_what_the_path_takes(method, target, status, allow):
    """A method that the parser had never heard of was answered with every method of the API, at any path."""
    downstream = Downstream()
    answer = downstream.connect().send(method + b" " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert error_of(answer)[0] == status
    allowed = [line[7:] for line in answer.split(b"\r\n") if line.startswith(b"Allow: ")]
    assert allowed == ([] if allow is None else [allow])
    assert downstream.forward.requests == []


def test_connect_is_a_method_that_nobody_has_here():
    """RFC 9110 §9.3.6: an origin server need not know it; it was called malformed."""
    connection = Downstream().connect()
    answer = connection.send(b"CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n")
    assert error_of(answer) == (405, "method_not_allowed")
    assert b"\r\nAllow: GET, " in answer
    assert connection.ended == "closed"


def test_chain_of_proxies_passes():
    """Four times our own name is a chain, not a loop."""
    answer = Downstream().connect().send(GET + b"Via: " + b"1.1 openai-proxy, " * 4 + b"1.1 x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("target", [b"/", b"/health"])
def test_balancers_may_check_with_options_and_head(target, version):
    """HAProxy's bare `option httpchk` asks `OPTIONS / HTTP/1.0`: with 405 the server counted as down."""
    downstream = Downstream()
    for method in (b"OPTIONS", b"HEAD"):
        answer = downstream.connect().send(b"%b %b HTTP/%b\r\nHost: a\r\n\r\n" % (method, target, version))
        assert answer.startswith(b"HTTP/%b 200 OK\r\n" % version)
        assert answer.endswith(b"\r\n\r\n")
        assert (b"Allow: GET, HEAD, OPTIONS" in answer) == (method == b"OPTIONS")
    assert b" 404 " in downstream.connect().send(b"OPTIONS /nowhere HTTP/1.1\r\nHost: a\r\n\r\n")


@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"],
)
def test_a_websocket_handshake_with_a_body_is_an_ordinary_request(framing):
    """The chunks went upstream after a head that did not announce them."""
    downstream = Downstream()
    handshake = GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + framing
    for size in (1, 7, 1000):
        connection = downstream.connect()
        answer = connection.send(*[handshake[at : at + size] for at in range(0, len(handshake), size)])
        assert b" 200 " in answer
        assert downstream.forward.requests[-1].upgrade is False
        assert downstream.forward.bodies[-1] == b"hello"

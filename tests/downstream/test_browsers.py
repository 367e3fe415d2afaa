"""Requests that browsers make, at the downstream edge."""

import pytest
from fakes import Downstream, ReadyBody, Recorder, response

from openai_proxy.wire.web_origins import WebOrigins

ORIGIN = b"Origin: http://app.test\r\n"
ASKS = ORIGIN + b"Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n"
PATH = b"/v1/chat/completions"


def request(method, path, lines=b""):
    return b"%b %b HTTP/1.1\r\nHost: proxy.test\r\n%b\r\n" % (method, path, lines)


def guarded(listed=(), guards=False, forward=None):
    made = Downstream(forward)
    made.site.web_origins = WebOrigins(frozenset(listed), guards)
    return made


def test_a_preflight_takes_its_own_way():
    """It has no credentials, so that no stage may see it."""
    made = guarded()
    made.api.preflight = Recorder()
    made.connect().send(request(b"OPTIONS", PATH, ASKS))
    assert (len(made.api.preflight.requests), len(made.forward.requests)) == (1, 0)
    made.connect().send(request(b"OPTIONS", PATH, ORIGIN))
    assert (len(made.api.preflight.requests), len(made.forward.requests)) == (1, 1)


def test_a_listed_origins_preflight_is_answered_here():
    """Nothing goes upstream, and the exchange is complete."""
    made = guarded([b"http://app.test:80"])
    made.api.preflight = Recorder()
    got = made.connect().send(request(b"OPTIONS", PATH, ASKS), request(b"GET", b"/v1/models"))
    head = got.partition(b"\r\n\r\n")[0]
    assert head.startswith(b"HTTP/1.1 204 No Content\r\n")
    assert head.count(b"access-control-allow-origin: http://app.test") == 1
    assert b"access-control-allow-methods: GET, HEAD, POST, OPTIONS" in head
    assert b"access-control-allow-headers: authorization" in head
    assert b"access-control-max-age: 600" in head
    assert b"vary: origin" in head
    assert made.api.preflight.requests == []
    assert b"HTTP/1.1 200 OK" in got  # the connection goes on
    assert made.outcomes == ["complete", "complete"]


def test_an_unlisted_origin_is_refused():
    """Preflights and requests alike; nothing is forwarded."""
    made = guarded([b"http://other.test:80"])
    for raw in (request(b"OPTIONS", PATH, ASKS), request(b"GET", b"/v1/models", ORIGIN)):
        got = made.connect().send(raw)
        assert got.startswith(b"HTTP/1.1 403 ")
        assert b'"origin_not_allowed"' in got
        assert b"access-control" not in got
    assert made.forward.requests == []


@pytest.mark.parametrize("path", [b"/v1/models", b"/health"])
def test_a_listed_origin_reads_answers(path):
    """Those of the upstream and our own pages; once, in place of the upstream's line."""

    async def forward(request):
        return response(ReadyBody(b"ok"), (b"Access-Control-Allow-Origin", b"*"))

    made = guarded([b"http://app.test:80"], forward=forward)
    got = made.connect().send(request(b"GET", path, ORIGIN)).lower()
    assert got.startswith(b"http/1.1 200 ")
    assert got.count(b"access-control-allow-origin") == 1
    assert b"access-control-allow-origin: http://app.test\r\n" in got
    assert b"vary: origin" in got


@pytest.mark.parametrize("raw", [request(b"TRACE", b"/v1/models", ORIGIN), request(b"GET", b"/no", ORIGIN)])
def test_pages_read_our_errors(raw):
    """Without the line they see "Failed to fetch"."""
    assert b"\r\naccess-control-allow-origin: *\r\n" in guarded().connect().send(raw)
    assert b"access-control" not in guarded().connect().send(raw.replace(ORIGIN, b""))


@pytest.mark.parametrize("path", [b"/v1/models", b"/", b"/health"])
def test_inject_mode_refuses_other_origins(path):
    """On every path, and WebSocket handshakes too; own pages may call."""
    made = guarded(guards=True)
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    for lines in (ORIGIN, b"Sec-Fetch-Site: cross-site\r\n", ORIGIN + upgrade):
        assert b'"origin_not_allowed"' in made.connect().send(request(b"GET", path, lines))
    own = made.connect().send(request(b"GET", path, b"Origin: http://proxy.test\r\n"))
    assert own.startswith(b"HTTP/1.1 200 ")


def test_equal_heads_are_judged_each_time():
    """What is remembered of a head must not outlive a reload."""
    made = guarded(guards=True)
    client = made.connect()
    raw = request(b"GET", b"/v1/models", ORIGIN)
    assert client.send(raw).startswith(b"HTTP/1.1 403 ")
    made.site.web_origins = WebOrigins(frozenset([b"http://app.test:80"]), guards=True)
    assert client.send(raw).startswith(b"HTTP/1.1 200 ")
    made.site.web_origins = WebOrigins(guards=True)
    assert client.send(raw).startswith(b"HTTP/1.1 403 ")

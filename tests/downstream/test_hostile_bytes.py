"""Thousands of made-up requests through the channel: never one more upstream than was sent."""

import re

import h11
import pytest
from fakes import Downstream
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HONEST = b"GET /v1/models/honest HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"POST /v1/files HTTP/1.1\r\nHost: a\r\n"

NOISE = st.sampled_from(
    [
        b"",
        b" ",
        b"\t",
        b"\r",
        b"\n",
        b"\r\n",
        b"\x00",
        b"\x0b",
        b"\x0c",
        b"\x7f",
        b"\x80",
        b"\xa0",
        b",",
        b";",
        b":",
        b"0",
    ]
)
LINES = [
    b"POST /v1/files HTTP/1.1", b"GET /v1/models HTTP/1.1", b"GET /v1/models HTTP/1.0", b"POST /v1/files HTTP/1.0",
    b"HEAD /models HTTP/1.1", b"OPTIONS * HTTP/1.1", b"DELETE /v1/files/%2e%2e HTTP/1.1", b"GET http://b/v1/x HTTP/1.1",
    b"CONNECT a:443 HTTP/1.1", b"PUT /v1/files/x HTTP/1.1", b"GET /v1/models", b"BREW /v1/models HTTP/1.1",
]  # fmt: skip
FIELDS = [
    b"Host: a", b"Host: b:80", b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: 46", b"Content-Length: +5",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", b"transfer-encoding:chunked", b"TE: trailers",
    b"Connection: close", b"Connection: keep-alive", b"Connection: Upgrade", b"Connection: content-length",
    b"Upgrade: websocket", b"Upgrade: h2c", b"Expect: 100-continue", b"X: y", b" folded", b"X: \xff", b"Content-Encoding: br",
    b"Content-Type: application/json", b"Transfer-Encoding: chunked, chunked", b"Content-Length: 5, 5",
]  # fmt: skip
BODIES = [
    b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"0\r\n\r\n", b"5;x=y\r\nhello\r\n0\r\nX: y\r\n\r\n", b"5\r\nhello\r\n",
    b"fffffffffffffffff\r\n", b"-1\r\n", HONEST, b"2e\r\n" + HONEST + b"\r\n0\r\n\r\n", b"{}",
]  # fmt: skip


@st.composite
def composed(draw):
    """Requests put together from pieces that mean something to a parser, with noise between."""
    line = draw(st.sampled_from(LINES))
    fields = draw(st.lists(st.sampled_from(FIELDS), max_size=5))
    host = draw(st.sampled_from([[b"Host: a"], [b"Host: a"], []]))
    end = draw(st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r"]))
    head = [line, *host, *fields]
    noisy = draw(st.integers(-4, len(head) - 1))
    if noisy >= 0:
        at = draw(st.integers(0, len(head[noisy])))
        head[noisy] = head[noisy][:at] + draw(NOISE) + head[noisy][at:]
    return end.join(head) + end * 2 + draw(st.sampled_from(BODIES)) + draw(st.sampled_from([b"", HONEST]))


@st.composite
def mutated(draw):
    """An honest pipeline of two with a few bytes changed, taken out or put in."""
    body = draw(
        st.sampled_from(
            [b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n" + BODIES[4]]
        )
    )
    data = bytearray(HEAD + body + HONEST)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data) - 1))
        width = draw(st.integers(0, 2))
        data[at : at + width] = draw(st.one_of(NOISE, st.binary(max_size=3)))
    return bytes(data)


def split(data, cuts):
    cuts_at = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *cuts_at], [*cuts_at, len(data)], strict=True) if a != b]


def read_by_h11(data):
    """What an independent parser takes from the same bytes: (method, target, body) of each request."""
    requests = []
    data = re.sub(
        rb"([A-Z]) +(\S+) +(HTTP/1\.[01]\r?\n)", rb"\1 \2 \3", data
    )  # white space may be read so (RFC 9112 §3)
    while data := data.lstrip(b"\r\n"):  # empty lines before a request mean nothing (RFC 9112 §2.2)
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(data)
        body = b""
        try:
            request = connection.next_event()
            if not isinstance(request, h11.Request):
                break
            while isinstance(event := connection.next_event(), h11.Data):
                body += event.data
        except h11.RemoteProtocolError:
            break
        if not isinstance(event, h11.EndOfMessage):
            break
        requests.append((request.method, request.target, body))
        data = connection.trailing_data[0]
    return requests


def run(data, cuts):
    """Feed `data` in pieces and let time pass; returns (requests that went up, all that came back)."""
    downstream = Downstream()
    connection = downstream.connect()
    answered = connection.send(*split(data, cuts))
    downstream.clock.pump([20, 1, 20])
    answered += connection.transport.take()
    connection.lose()
    forward = downstream.forward
    whole = [
        (request.method, request.target, body)
        for request, body in zip(forward.requests, forward.bodies, strict=False)
    ]
    assert downstream.connect().send(HONEST).startswith(b"HTTP/1.1 200 OK\r\n")
    return downstream, connection, whole, answered


def check(data, cuts):
    downstream, connection, whole, answered = run(data, cuts)
    expected = [(method, target.removeprefix(b"/v1"), body) for method, target, body in read_by_h11(data)]
    remaining = iter(expected)
    for request in whole:
        assert any(request == other for other in remaining), "went up, but nobody else reads it there"
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answered)]
    assert 500 not in statuses
    assert len([status for status in statuses if status == 200]) <= len(expected)
    if not whole:
        assert answered or connection.ended
    assert all(exchange.outcome is not None for exchange in downstream.published)


CUTS = st.lists(st.integers(0, 400), max_size=4)
MANY = settings(max_examples=1000, suppress_health_check=list(HealthCheck))


@pytest.mark.slow
@MANY
@given(composed(), CUTS)
def test_composed_requests_mean_what_an_independent_parser_reads(data, cuts):
    """Whatever goes up, another parser finds at the same place; the rest is refused or closed."""
    check(data, cuts)


@pytest.mark.slow
@MANY
@given(mutated(), CUTS)
def test_mutated_requests_mean_what_an_independent_parser_reads(data, cuts):
    """A few wrong bytes never make one request two."""
    check(data, cuts)


@settings(max_examples=300)
@given(st.binary(max_size=300), CUTS)
def test_garbage_is_refused(data, cuts):
    """Bytes of anything get an error, or the end, and no exception."""
    check(data, cuts)

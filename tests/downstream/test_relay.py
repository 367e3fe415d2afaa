"""A response on its way to the client: framing, filters, ends."""

import pytest
from fakes import Body, ReadyBody, exchange, response
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from openai_proxy.downstream.relay import BURST_BYTES, Relay, whole_answer
from openai_proxy.exchange.messages import ProxyResponse
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.exchange.upstream_errors import UpstreamTimeout


class Client:
    """What the relay asks of the request that it answers."""

    def __init__(self, http11=True, is_head=False, keep_alive=True):
        self.http11 = http11
        self.is_head = is_head
        self.keep_alive = keep_alive
        self.exchange = exchange()
        self.written = b""
        self.events = []

    def write(self, data):
        self.written += data

    def set_last(self):
        self.keep_alive = False

    def end_exchange(self, outcome):
        if self.exchange.end(outcome, 1.0):
            self.events.append((outcome, self.written))

    def response_complete(self):
        self.events.append("complete")

    def response_broken(self):
        self.events.append("broken")

    @property
    def ways_out(self):
        return [event for event in self.events if isinstance(event, str)]


def relay(answer, client=None, **options):
    client = client or Client()
    started = Relay(client, answer, client.write, lambda: 7.0, **options)
    started.start()
    return client, started


@pytest.mark.parametrize(
    ("error", "kind"),
    [(ConnectionLost(), "truncated"), (UpstreamTimeout(kind="timeout_idle"), "timeout_idle")],
)
def test_a_body_that_breaks_off_is_an_error_of_the_upstream(error, kind):
    """The metrics told of errors before the head alone, and never of a stream that was cut."""
    for upstream, counted in (("default", [("default", kind)]), (None, [])):
        body, client = Body(), Client()
        client.exchange.upstream = upstream
        relay(response(body), client)
        body.feed(b"x")
        body.protocol.connectionLost(Failure(error))
        assert client.exchange.upstream_error_kinds == counted


def test_counted_body_keeps_its_length():
    """Head and body go out as they came, the exchange ends, the request is answered."""
    client, _ = relay(response(ReadyBody(b"hello"), (b"X", b"y")))
    assert client.written == b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 5\r\n\r\nhello"
    assert client.exchange.outcome is Outcome.COMPLETE
    assert client.exchange.response_bytes == 5
    assert client.ways_out == ["complete"]
    assert client.exchange.response_first_body_at == 7.0


def test_uncounted_body_is_chunked():
    """Every read is a chunk at once; the last chunk comes with a clean end only."""
    body = Body()
    client, _ = relay(response(body))
    body.feed(b"ab")
    assert client.written == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"
    body.end()
    assert client.written.endswith(b"2\r\nab\r\n0\r\n\r\n")


def test_uncounted_body_for_http10_ends_with_the_connection():
    """No chunks for who cannot read them."""
    body = Body()
    client, _ = relay(response(body), Client(http11=False))
    body.feed(b"ab")
    body.end()
    assert client.written == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nab"


@pytest.mark.parametrize(
    ("http11", "keep_alive", "line"),
    [(True, True, b""), (True, False, b"Connection: close"), (False, True, b"Connection: keep-alive")],
)
def test_persistence_is_told(http11, keep_alive, line):
    """Only if it is not what the version means anyway."""
    client, _ = relay(response(ReadyBody(b"")), Client(http11=http11, keep_alive=keep_alive))
    assert (b"Connection" in client.written) is bool(line)
    assert line in client.written


@pytest.mark.parametrize(("status", "is_head"), [(204, False), (304, False), (200, True)])
def test_bodiless_responses_have_no_framing_added(status, is_head):
    """Neither a chunk nor a changed length."""
    body = Body()
    client, _ = relay(response(body, (b"Content-Length", b"9"), status=status), Client(is_head=is_head))
    body.end()
    assert client.written == b"HTTP/1.1 %d OK\r\nContent-Length: 9\r\n\r\n" % status


@pytest.mark.parametrize("body", [Body(), Body(10)], ids=["chunked", "counted"])
def test_truncation_is_no_end(body):
    """What came goes out; then the transfer is broken off."""
    client, _ = relay(response(body))
    body.feed(b"half")
    body.cut()
    assert client.written.endswith(b"half") or client.written.endswith(b"half\r\n")
    assert client.exchange.outcome is Outcome.UPSTREAM_TRUNCATED
    assert client.ways_out == ["broken"]


def test_late_body_is_a_timeout():
    """The record tells a silent upstream from one that left."""
    body = Body()
    client, _ = relay(response(body))
    body.protocol.connectionLost(Failure(UpstreamTimeout()))
    assert client.exchange.outcome is Outcome.TIMEOUT
    assert client.ways_out == ["broken"]


def test_record_ends_before_the_client_sees_the_end():
    """With an observer that must be first, the last bytes wait for the end."""
    body = Body(4)
    client, _ = relay(response(body), hold_end=True)
    body.feed(b"ab")
    body.feed(b"cd")
    assert client.written.endswith(b"ab")
    body.end()
    assert client.written.endswith(b"abcd")
    outcome, seen = client.events[0]
    assert outcome is Outcome.COMPLETE
    assert not seen.endswith(b"cd")


class Upper:
    """A filter that changes, keeps the last byte back, and adds an end."""

    transparent = False

    def __init__(self, end):
        self.kept = b""
        self.end = end

    def feed(self, data):
        data = self.kept + data.upper()
        self.kept = data[-1:]
        return data[:-1]

    def finish(self):
        return self.kept + self.end


def test_filters_run_in_order_and_their_rests_too():
    """A changed body has no length any more; each rest passes the filters behind."""
    body = Body(3)
    answer = response(body).evolve(filters=(Upper(b"x"), Upper(b"y")))
    client, _ = relay(answer)
    body.feed(b"abc")
    body.end()
    assert b"Content-Length" not in client.written
    head, _, rest = client.written.partition(b"\r\n\r\n")
    assert b"chunked" in head
    assert rest == b"1\r\nA\r\n4\r\nBCXy\r\n0\r\n\r\n"


def test_broken_body_has_no_finish():
    """A filter's rest belongs to a clean end alone."""
    body = Body()
    client, _ = relay(response(body).evolve(filters=(Upper(b"END"),)))
    body.feed(b"abc")
    body.cut()
    assert b"END" not in client.written
    assert b"C" not in client.written.partition(b"\r\n\r\n")[2]


def test_client_that_leaves_discards_the_body():
    """The upstream stops at once; what still comes is nobody's."""
    body = Body()
    client, running = relay(response(body))
    running.client_gone()
    running.client_gone()
    assert (body.discards, client.exchange.outcome) == (1, Outcome.CLIENT_GONE)
    body.feed(b"late")
    body.end()
    assert b"late" not in client.written
    assert client.ways_out == []


COMPLETED = b'event: response.completed\ndata: {"type":"response.completed","response":{"output":[]}}\n\n'


@pytest.mark.parametrize(
    ("pieces", "outcome"),
    [
        ([b"data: [DONE]\n\n"], Outcome.COMPLETE),
        ([b"data: [DONE]", b"\n\n"], Outcome.COMPLETE),
        ([b"data: [DO", b"NE]\r\n", b"\r\n"], Outcome.COMPLETE),
        ([bytes([byte]) for byte in b"data: {}\n\ndata: [DONE]\n\n"], Outcome.COMPLETE),
        ([COMPLETED], Outcome.COMPLETE),
        ([COMPLETED[:40], COMPLETED[40:]], Outcome.COMPLETE),
        ([COMPLETED[:40]], Outcome.CLIENT_GONE),
        ([b'data: {"delta":"data: [DONE] event: response.completed"}\n\n'], Outcome.CLIENT_GONE),
        ([b"data: [DONE]\n\n", b"data: {}\n\n" * 9], Outcome.CLIENT_GONE),
    ],
)
def test_a_client_that_leaves_at_the_last_event_had_all(pieces, outcome):
    """SDKs close there; it was a client that had gone if the event came in two reads, or was one of /responses."""
    body = Body()
    client, running = relay(response(body))
    body.feed(*pieces)
    running.client_gone()
    assert client.exchange.outcome is outcome


def test_full_client_pauses_the_upstream():
    """Back-pressure reaches the body's producer, until it is over."""
    body = Body()
    _, running = relay(response(body))
    running.pauseProducing()
    assert body.paused
    running.resumeProducing()
    assert not body.paused
    body.end()
    running.pauseProducing()
    assert not body.paused


@pytest.mark.parametrize("hold_end", [False, True])
@pytest.mark.parametrize("sent", [b"", b"hell", b"hello!", b"hellohello"])
def test_other_bytes_than_announced_break_the_connection_off(sent, hold_end):
    """Whatever the cause, the client would read the rest of this answer as the next one, or wait for ever."""
    body = Body(5)
    client, _ = relay(response(body), hold_end=hold_end)
    if sent:
        body.feed(*[sent[at : at + 3] for at in range(0, len(sent), 3)])
    body.end()
    assert client.ways_out == ["broken"]
    assert len(client.written.partition(b"\r\n\r\n")[2]) <= 5
    assert client.exchange.outcome is Outcome.UPSTREAM_TRUNCATED


@pytest.mark.parametrize("lines", [[], [(b"Content-Length", b"6")]])
def test_a_length_that_is_not_the_bodys_is_not_told(lines):
    """Then the body is framed in chunks."""
    body = Body(5)
    client, _ = relay(ProxyResponse(200, b"OK", lines, body))
    body.feed(b"hello")
    body.end()
    assert b"Content-Length" not in client.written
    assert client.written.endswith(b"5\r\nhello\r\n0\r\n\r\n")


def test_a_whole_answer_of_another_length_is_a_defect():
    """Nothing of it has gone out yet: the client gets an error instead."""
    with pytest.raises(ValueError, match="5 bytes announces 6"):
        whole_answer(ProxyResponse(200, b"OK", [(b"content-length", b"6")], Body(5)), b"hello", True, True)


class Source(Body):
    """A body that notes whether it is to go on."""

    def __init__(self):
        super().__init__()
        self.goes_on = True

    def pauseProducing(self):
        self.goes_on = False

    def resumeProducing(self):
        self.goes_on = True


def test_others_have_their_turn_while_a_long_body_passes():
    """What one read of a compressed body holds is not given on in one turn; a client's own pause lasts."""
    body, turns = Source(), []
    client, started = relay(response(body), later=turns.append)
    started.makeConnection(body)
    started.dataReceived(b"a" * (BURST_BYTES - 1))
    assert (body.goes_on, turns) == (True, [])
    started.dataReceived(b"a")
    assert (body.goes_on, len(turns)) == (False, 1)
    started.resumeProducing()
    assert not body.goes_on
    turns.pop()()
    assert body.goes_on
    started.dataReceived(b"a" * BURST_BYTES)
    started.pauseProducing()
    turns.pop()()
    assert not body.goes_on
    started.resumeProducing()
    assert body.goes_on
    assert client.written.count(b"a" * 9) > 0

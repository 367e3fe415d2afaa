"""A WebSocket between its two ends, in memory."""

import pytest
from fakes import UPGRADE, Downstream, TunnelEnd, response
from twisted.internet.error import ConnectionDone, ConnectionLost

HEAD = b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


class OpenTunnel:
    """An open tunnel; `early` is what the client sends with its handshake."""

    def __init__(self, early=b"", idle_s=None):
        self.far = TunnelEnd()
        headers = [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]

        async def forward(request):
            assert request.upgrade
            return response(self.far, *headers, status=101, reason=b"Switching")

        self.downstream = Downstream(forward)
        self.downstream.site.websocket_idle_s = idle_s
        self.client = self.downstream.connect()
        self.answer = self.client.send(UPGRADE + early)

    @property
    def record(self):
        [ended] = self.downstream.published
        return ended

    @property
    def reading(self):
        """Whether the client's transport is read."""
        return self.client.transport.producerState == "producing"


def test_bytes_go_both_ways_as_they_are():
    """After the 101 nothing is HTTP any more."""
    tunnel = OpenTunnel()
    assert tunnel.answer == HEAD
    tunnel.far.feed(b"\x81\x02hi", b"\r\n\r\n")
    assert tunnel.client.transport.take() == b"\x81\x02hi\r\n\r\n"
    assert tunnel.client.send(b"GET / HTTP/1.1\r\n\r\n", b"\x00\xff") == b""
    assert tunnel.far.written == [b"GET / HTTP/1.1\r\n\r\n", b"\x00\xff"]
    assert tunnel.downstream.published == []


def test_what_came_with_the_handshake_goes_first():
    """A client need not wait for the 101."""
    tunnel = OpenTunnel(b"early")
    tunnel.client.send(b"late")
    assert b"".join(tunnel.far.written) == b"earlylate"


def test_the_record_ends_with_the_tunnel():
    """It counts the bytes of both directions, and is complete if both sides closed."""
    tunnel = OpenTunnel()
    tunnel.client.send(b"123")
    tunnel.far.feed(b"12345")
    tunnel.far.end(ConnectionDone())
    assert tunnel.client.ended == "closed"
    tunnel.client.lose()
    record = tunnel.record
    assert (record.status, record.outcome.value) == (101, "complete")
    assert record.request_bytes >= 3
    assert record.response_bytes >= 5
    assert tunnel.downstream.site.channels == set()


@pytest.mark.parametrize(
    ("error", "outcome", "closed", "discards"),
    [(ConnectionDone, "complete", True, 0), (ConnectionLost, "client_gone", False, 1)],
)
def test_a_client_that_leaves_ends_the_upstreams_side(error, outcome, closed, discards):
    """What it sent is still delivered after a clean end; a reset is passed on at once."""
    tunnel = OpenTunnel()
    tunnel.client.send(b"last words")
    tunnel.client.lose(error())
    assert (tunnel.far.closed, tunnel.far.discards) == (closed, discards)
    assert tunnel.far.written == [b"last words"]
    tunnel.far.end(ConnectionDone())
    assert tunnel.record.outcome.value == outcome


def test_an_upstream_that_breaks_off_ends_in_a_reset():
    """A client must not take it for an end."""
    tunnel = OpenTunnel()
    tunnel.far.feed(b"half a me")
    tunnel.far.end(ConnectionLost())
    tunnel.downstream.advance(1)
    assert tunnel.client.transport.take() == b"half a me"
    assert tunnel.client.ended == "aborted"
    assert tunnel.record.outcome.value == "upstream_truncated"


def test_a_full_upstream_pauses_the_client():
    """What cannot be sent up is not read."""
    tunnel = OpenTunnel()
    tunnel.far.producer.pauseProducing()
    assert not tunnel.reading
    tunnel.far.producer.resumeProducing()
    assert tunnel.reading


def test_a_full_client_pauses_the_upstream():
    """What cannot be sent down is not read."""
    tunnel = OpenTunnel()
    tunnel.client.channel.pauseProducing()
    assert tunnel.far.paused
    tunnel.client.channel.resumeProducing()
    assert not tunnel.far.paused


def test_after_the_end_nothing_is_paused_any_more():
    """Late words of either transport find nobody."""
    tunnel = OpenTunnel()
    far, producer = tunnel.far, tunnel.far.producer
    tunnel.client.lose(ConnectionLost())
    producer.pauseProducing()
    producer.resumeProducing()
    producer.stopProducing()
    assert not far.paused
    far.end(ConnectionLost())
    assert tunnel.record.outcome.value == "client_gone"


def test_an_idle_tunnel_stays():
    """No timeout of requests or responses applies."""
    tunnel = OpenTunnel()
    tunnel.downstream.advance(900)
    assert tunnel.client.ended is None
    assert tunnel.downstream.published == []


def test_a_silent_tunnel_is_cut():
    """After `websocket.idle_s` without a byte in either direction; any byte starts it anew."""
    tunnel = OpenTunnel(idle_s=10)
    for pass_a_byte in (lambda: tunnel.far.feed(b"\x81\x00"), lambda: tunnel.client.send(b"\x81\x80mask")):
        tunnel.downstream.advance(9)
        pass_a_byte()
    tunnel.downstream.advance(9)
    assert tunnel.client.transport.ended is None
    tunnel.downstream.advance(2)
    assert tunnel.client.transport.ended == "aborted"
    assert tunnel.far.discards == 1
    assert tunnel.record.outcome == "timeout"


@pytest.mark.parametrize("end", ["client", "upstream"])
def test_a_tunnel_that_ended_leaves_no_timer(end):
    """Whoever ends it."""
    tunnel = OpenTunnel(idle_s=1000)
    if end == "client":
        tunnel.client.lose()
    else:
        tunnel.far.end(ConnectionDone())
    assert all(call.getTime() < 100 for call in tunnel.downstream.clock.getDelayedCalls())


def test_a_silent_tunnel_lasts_where_nothing_bounds_it():
    """As long as both ends like; the kernel looks whether they are there."""
    tunnel = OpenTunnel()
    tunnel.downstream.advance(500)
    assert tunnel.client.transport.ended is None

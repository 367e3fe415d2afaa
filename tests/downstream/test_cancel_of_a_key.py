"""What runs of a client key that was revoked may be stopped."""

from fakes import Downstream
from twisted.internet.defer import Deferred

from openai_proxy.exchange.errors import CancelledByOperator

REQUEST = b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX-Key: %b\r\n\r\n"


def test_only_the_exchanges_of_that_key_are_stopped():
    """They get what an operator's cancel gives; those of others go on."""

    async def forward(request):
        request.exchange.key = dict(request.headers)[b"X-Key"].decode()
        return await Deferred()

    edge = Downstream(forward)
    alice, bob, idle = edge.connect(), edge.connect(), edge.connect()
    assert alice.send(REQUEST % b"alice") == bob.send(REQUEST % b"bob") == b""
    for channel in list(edge.site.channels):
        channel.cancel_for("alice", CancelledByOperator())
    answer = alice.transport.take()
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"cancelled_by_operator" in answer
    assert b"x-should-retry: false" in answer
    assert (bob.transport.take(), idle.transport.take()) == (b"", b"")
    assert edge.outcomes == ["cancelled"]

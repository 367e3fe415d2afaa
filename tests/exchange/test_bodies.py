"""A body that is all there: delivered, produced, and taken as it is."""

import pytest
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.web.client import ResponseDone
from twisted.web.iweb import IBodyProducer
from zope.interface.verify import verifyObject

from openai_proxy.exchange.bodies import UnannouncedBody, WholeBody


class Receiver(Protocol):
    """Takes a body; leaves at the first bytes with `leaves`."""

    def __init__(self, leaves=False):
        self.data = b""
        self.ends = []
        self._leaves = leaves

    def dataReceived(self, data):
        self.data += data
        self.transport.pauseProducing()
        self.transport.resumeProducing()
        if self._leaves:
            self.transport.stopProducing()

    def connectionLost(self, reason):
        self.ends.append(reason.type)


def delivered(body, **options):
    receiver = Receiver(**options)
    body.deliverBody(receiver)
    return receiver.data, receiver.ends


@pytest.mark.parametrize("data", [b"", b"hello"])
def test_it_may_be_delivered_to_several(data):
    """An answer from the cache serves all hits of a second."""
    body = WholeBody(data)
    for _ in range(2):
        assert delivered(body) == (data, [ResponseDone])
    body.discard()
    assert delivered(body) == (data, [ResponseDone])


def test_who_leaves_does_not_get_the_end():
    """Nothing reaches a receiver that has stopped the body."""
    assert delivered(WholeBody(b"hello"), leaves=True) == (b"hello", [])


@pytest.mark.parametrize("data", [b"", b"hello"])
def test_it_may_be_produced_again(data):
    """A request on a kept connection that turns out dead is sent once more."""
    body = WholeBody(data)
    assert verifyObject(IBodyProducer, body)
    for _ in range(2):
        consumer, done = StringTransport(), []
        body.startProducing(consumer).addCallback(done.append)
        assert (consumer.value(), done, body.length) == (data, [None], len(data))
        body.stopProducing()
        assert body.rewind()


@pytest.mark.parametrize(("kind", "expected"), [(WholeBody, (5, b"hello")), (UnannouncedBody, (None, None))])
def test_without_a_length_it_is_delivered_in_chunks(kind, expected):
    """A head that leaves the length open must not be followed by bare bytes."""
    body = kind(b"hello")
    assert (body.length, body.whole) == expected
    assert delivered(body) == (b"hello", [ResponseDone])


def test_nothing_can_break_a_body_that_was_read_with_its_head():
    """The client may leave."""
    body = WholeBody(b"hello")
    body.fail(ValueError("the client left"))
    assert (body.data, body.received, body.length, body.complete) == (b"hello", 5, 5, True)

"""What Redis admits for nobody is given back: the client has left, or was served without it."""

import pytest
from fakes import results_of
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from openai_proxy.net.redis_client import RedisAway
from openai_proxy.policies.limits.embedded import EmbeddedStore
from openai_proxy.policies.limits.redis import RedisStore
from openai_proxy.policies.limits.rules import Limits

LIMITS = Limits(None, 100, 2)
ADMITTED, REFUSED = [1, b"9", b"100", 0], [0, b"9", b"0", 2]


class Client:
    """In the place of RedisClient: keeps what is sent, answers by hand."""

    def __init__(self):
        self.connected = True
        self.calls = []
        self.posts = []

    def call(self, *command, late=None):
        answer = Deferred()
        self.calls.append((answer, late))
        return answer

    def post(self, *command):
        operation, _, _, _, cost, slot, _ = command[5:]
        self.posts.append((operation, float(cost), slot))


def admitting():
    clock = Clock()
    client = Client()
    store = RedisStore(client, EmbeddedStore(clock.seconds), clock)
    asked = Deferred.fromCoroutine(store.admit("k", LIMITS, 30, "slot"))
    ends = results_of(asked)
    (call,) = client.calls
    return store, client, asked, ends, *call


def test_a_client_that_leaves_frees_its_slot_and_its_tokens():
    """The slot is freed after the command that takes it, the tokens when Redis says that it took them."""
    _, client, asked, ends, _, late = admitting()
    asked.cancel()
    assert isinstance(ends[0], CancelledError)
    assert client.posts == [("finish", 0.0, "slot")]
    late(ADMITTED)
    assert client.posts[1:] == [("finish", -30.0, "")]


def test_tokens_that_were_not_charged_are_not_given_back():
    """A client that leaves before it is refused must not fill a bucket."""
    _, client, asked, _, _, late = admitting()
    asked.cancel()
    late(REFUSED)
    assert client.posts == [("finish", 0.0, "slot")]


def test_a_request_that_was_admitted_without_redis_keeps_nothing_there():
    """Redis answered after the deadline: the request was charged here by then."""
    _, client, _, ends, answer, late = admitting()
    answer.errback(RedisAway())
    assert (ends[0].admitted, ends[0].kept_in) == (True, "embedded")
    late(ADMITTED)
    assert client.posts == [("finish", 0.0, "slot"), ("finish", -30.0, "")]


@pytest.mark.parametrize("connected", [True, False], ids=["connected", "stalled"])
def test_a_request_that_ends_frees_its_slot(connected):
    """While an answer of Redis is overdue, too: what is sent then is done when it answers again."""
    store, client, _, ends, answer, _ = admitting()
    answer.callback(ADMITTED)
    client.connected = connected
    store.finish(ends[0], 10.0)
    assert client.posts == [("finish", -20.0 if connected else 0.0, "slot")]

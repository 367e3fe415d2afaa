"""A response that nobody takes is discarded at once, whatever goes wrong after the upstream's head.

Through the downstream edge and the innermost `forward`, in memory. A
connection whose response is neither delivered nor discarded is paused, and
holds what came until somebody collects garbage.
"""

import json

import pytest
from fakes import Downstream
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from openai_proxy.exchange.bodies import BODY_DONE
from openai_proxy.exchange.errors import BudgetSpent
from openai_proxy.policies.bodies.decoded_body import decoded
from openai_proxy.policies.bodies.peeked_body import peek
from openai_proxy.policies.cache.cache import Cache
from openai_proxy.policies.cache.memory import MemoryStore
from openai_proxy.policies.cache.rules import CacheRules, TimesToLive, default_rules
from openai_proxy.policies.cache.single_flight import SingleFlight
from openai_proxy.policies.chains import compose
from openai_proxy.upstream.forward import UpstreamForward, destination
from openai_proxy.upstream.response import UpstreamBody, UpstreamResponse


class UpstreamSide:
    """An upstream's connection, busy with one response."""

    def __init__(self, coding):
        pairs = [(b"Content-Type", b"text/event-stream")]
        if coding:
            pairs.append((b"Content-Encoding", coding))
        self.aborts = 0
        self.body = UpstreamBody(self, None)
        self.response = UpstreamResponse(200, b"OK", pairs, self.body)

    def abort(self):
        self.aborts += 1

    def pause_reading(self):
        """Nothing is read here."""

    def resume_reading(self):
        """Nothing is read here."""


class Client:
    """In the place of `upstream.client.UpstreamClient`; answers with a head and the beginning of a body."""

    def __init__(self, coding=b""):
        self.connections = []
        self._coding = coding

    async def request(self, *_, **__):
        connection = UpstreamSide(self._coding)
        self.connections.append(connection)
        connection.body.feed(b"data: 1\n\n")
        return connection.response


class Fails:
    """A stage that raises `error` once it has a response, or never goes on if there is none."""

    def __init__(self, error=None, look=None, times=1):
        self.error = error
        self.look = look
        self.times = times

    async def __call__(self, request, forward):
        response = await forward(request)
        if self.look is not None:
            response = await self.look(response)
        if self.times:
            self.times -= 1
            if self.error is None:
                await Deferred()
            raise self.error
        return response


def cache():
    clock = Clock()
    store = MemoryStore(1_000_000, clock.seconds)
    return Cache(store, CacheRules(default_rules(TimesToLive())), b"x", clock.seconds)


async def peeked(response):
    response, _ = await peek(response, 4)
    return response


async def unpacked(response):
    return decoded(response)


BODY = json.dumps({"model": "m", "input": "x"}).encode()
ASK = (
    b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    % (len(BODY), BODY)
)


def edge_over(stages, coding=b""):
    """Return a downstream edge over these stages, and what connects to the upstream."""
    client = Client(coding)
    innermost = UpstreamForward(client, destination("default", "http://127.0.0.1:1/v1"), {}, lambda: 0.0)

    async def read(request, forward):
        request.body = BODY
        request.document = json.loads(BODY)
        return await forward(request)

    return Downstream(compose([read, *stages], innermost)), client


ARRANGEMENTS = {
    "alone": lambda fails: [fails],
    "outside the cache": lambda fails: [fails, cache()],
    "inside the cache": lambda fails: [cache(), fails],
}
LOOKS = {"untouched": (None, b""), "peeked at": (peeked, b""), "decoded": (unpacked, b"gzip")}
ERRORS = {"a defect": (ZeroDivisionError, b"500"), "a refusal": (BudgetSpent, b"429")}


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("error", ERRORS)
def test_a_response_is_discarded_where_a_stage_fails_behind_it(arrangement, look, error):
    """The upstream's connection is free when the client has its error, not some time later."""
    looking, coding = LOOKS[look]
    raised, status = ERRORS[error]
    edge, client = edge_over(ARRANGEMENTS[arrangement](Fails(raised(), looking)), coding)
    answer = edge.connect().send(ASK)
    assert answer.split(b" ")[1] == status
    assert [each.aborts for each in client.connections] == [1]


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize("look", LOOKS)
def test_a_response_is_discarded_where_the_client_leaves_while_a_stage_waits(arrangement, look):
    """Whatever the stage waits for with the response in its hands."""
    looking, coding = LOOKS[look]
    edge, client = edge_over(ARRANGEMENTS[arrangement](Fails(None, looking)), coding)
    connection = edge.connect()
    assert connection.send(ASK) == b""
    assert [each.aborts for each in client.connections] == [0]
    connection.lose()
    assert [each.aborts for each in client.connections] == [1]
    assert edge.outcomes == ["client_gone"]


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_a_response_that_is_delivered_is_left_alone(arrangement):
    """It ends by itself, and its connection is used again."""
    edge, client = edge_over(ARRANGEMENTS[arrangement](Fails(times=0)))
    connection = edge.connect()
    assert b"data: 1" in connection.send(ASK)
    client.connections[0].body.end(BODY_DONE)
    assert connection.transport.take().endswith(b"0\r\n\r\n")
    assert [each.aborts for each in client.connections] == [0]
    assert edge.outcomes == ["complete"]


@pytest.mark.parametrize("how", ["fails", "leaves"])
def test_others_who_share_a_call_keep_it(how):
    """The one who made it has an error, or is gone; the call is no longer its own."""
    fails = Fails(ZeroDivisionError() if how == "fails" else None)
    edge, client = edge_over([fails, cache()])
    head = Deferred()
    send = client.request

    async def later(*args, **options):
        await head
        return await send(*args, **options)

    client.request = later
    first, second = edge.connect(), edge.connect()
    first.send(ASK)
    second.send(ASK)
    head.callback(None)
    if how == "leaves":
        first.lose()
    client.connections[0].body.feed(b"data: 2\n\n")
    client.connections[0].body.end(BODY_DONE)
    got = second.transport.take()
    assert b"data: 1" in got
    assert b"data: 2" in got
    assert got.endswith(b"0\r\n\r\n")
    assert len(client.connections) == 1
    assert client.connections[0].aborts == 0
    assert edge.outcomes == ["rejected" if how == "fails" else "client_gone", "complete"]


def test_a_defect_while_a_shared_response_is_judged_keeps_nobody_waiting():
    """Everybody who shares the call has an error, and the connection is free."""

    def judge(response):
        raise ZeroDivisionError

    flights = SingleFlight(1000, judge)

    async def join(request, forward):
        landing = await flights.join(b"key", request, forward, None, lambda: None)
        return landing.response

    edge, client = edge_over([join])
    answer = edge.connect().send(ASK)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert [each.aborts for each in client.connections] == [1]
    assert len(flights) == 0

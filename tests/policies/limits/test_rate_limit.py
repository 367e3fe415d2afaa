"""The limits of a key as its client meets them."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from openai_proxy.exchange.errors import ConcurrencyLimitReached, RequestLimitReached, TokenLimitReached
from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.exchange.record import Exchange
from openai_proxy.exchange.usage import Usage
from openai_proxy.policies.limits.embedded import EmbeddedStore
from openai_proxy.policies.limits.rate_limit import RateLimit, used_model_tokens
from openai_proxy.policies.limits.rules import GROUP, GroupScope, Limits


class World:
    """A stage over an upstream that answers when the test says so, on a clock of its own."""

    def __init__(self, limits, own=None, max_wait_s=0.0, **options):
        self.clock = Clock()
        self.store = EmbeddedStore(self.clock.seconds)
        self.stage = RateLimit(
            self.store,
            limits,
            own or {},
            timers=self.clock,
            clock=self.clock.seconds,
            max_wait_s=max_wait_s,
            **options,
        )
        self.forwarded = []

    def ask(self, key="k", body=b"{}", document=None):
        """Start a request; return (exchange, deferred of its response)."""
        exchange = Exchange(started=0.0, timestamp=0.0, method="POST", path="/v1/x", credential_id=key)
        exchange.model = (document or {}).get("model")
        request = ProxyRequest(
            method=b"POST", target=b"/x", headers=[], body=body, exchange=exchange, document=document
        )

        async def forward(request):
            answer = Deferred()
            self.forwarded.append(answer)
            return await answer

        return exchange, Deferred.fromCoroutine(self.stage(request, forward))

    def serve(self, usage=None, **kwargs):
        """Run one whole exchange; return the error or None."""
        before = len(self.forwarded)
        exchange, done = self.ask(**kwargs)
        if len(self.forwarded) == before:
            errors = []
            done.addErrback(lambda f: errors.append(f.value))
            return errors[0]
        self.forwarded[-1].callback("response")
        exchange.status = 200
        exchange.usage = usage
        exchange.end(Outcome.COMPLETE, 1.0)
        return None


def test_requests_over_the_limit_are_refused():
    """The request over the limit gets a 429 that says when to come back."""
    world = World(Limits(3))
    assert [world.serve() for _ in range(3)] == [None] * 3
    error = world.serve()
    assert type(error) is RequestLimitReached
    assert (b"retry-after", b"20") in error.headers
    assert (b"retry-after-ms", b"20000") in error.headers
    assert len(world.forwarded) == 3
    world.clock.advance(20)
    assert world.serve() is None


def test_a_key_with_its_own_limit():
    """A key's own limit stands in place of everybody's."""
    world = World(Limits(1), {"big": Limits(3)})
    assert [type(world.serve(key="big")) for _ in range(4)] == [type(None)] * 3 + [RequestLimitReached]
    assert [type(world.serve()) for _ in range(2)] == [type(None), RequestLimitReached]


@pytest.mark.parametrize("how", ["end", "client gone", "failure", "ended before"])
def test_a_slot_is_freed_however_the_exchange_ends(how):
    """A slot comes back when the exchange ends, also if its client left."""
    world = World(Limits(None, None, 1))
    exchange, done = world.ask()
    assert type(world.serve()) is ConcurrencyLimitReached
    if how == "end":
        world.forwarded[-1].callback("response")
        assert type(world.serve()) is ConcurrencyLimitReached
    elif how == "client gone":
        done.cancel()
    elif how == "failure":
        world.forwarded[-1].errback(ValueError())
    else:
        exchange.end(Outcome.CLIENT_GONE, 1.0)
        done.cancel()
    done.addErrback(lambda _: None)
    exchange.end(Outcome.COMPLETE, 1.0)
    assert world.serve() is None


class Arriving:
    """A body that is still on its way."""

    length = 10


EXPECTS = [(b"expect", b"100-continue")]


def looked_ahead(world, headers=EXPECTS, **fields):
    """Return the error of a look at the limits before the body is read; None if it goes on."""
    exchange = Exchange(started=0.0, timestamp=0.0, method="POST", path="/v1/x", credential_id="k")
    fields = {"body": Arriving(), "buffered": True, **fields}
    request = ProxyRequest(method=b"POST", target=b"/x", headers=headers, exchange=exchange, **fields)

    async def run():
        async def forward(request):
            return "went on"

        return await world.stage.look_ahead(request, forward)

    results = []
    Deferred.fromCoroutine(run()).addBoth(results.append)
    return None if results == ["went on"] else results[0].value


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        (Limits(1), RequestLimitReached),
        (Limits(None, 10), TokenLimitReached),
        (Limits(None, None, 1), ConcurrencyLimitReached),
    ],
)
@pytest.mark.parametrize("buffered", [True, False], ids=["JSON", "a form"])
def test_nobody_is_asked_for_a_body_that_will_be_refused(limits, error, buffered):
    """A client that waits for 100 Continue was asked to send its prompt, and then refused for sending too often."""
    world = World(limits, estimate=lambda *_: 10)
    needed = {"required": ("model",), "buffered": buffered}
    assert [looked_ahead(world, **needed) for _ in range(3)] == [None] * 3  # looking costs nothing
    exchange, running = world.ask()
    refused = looked_ahead(world, **needed)
    assert type(refused) is error
    assert any(name == b"retry-after" for name, _ in refused.headers)
    running.addErrback(lambda _: None)
    running.cancel()
    exchange.end(Outcome.COMPLETE, 1.0)


@pytest.mark.parametrize(
    "fields",
    [{"headers": []}, {"body": b"{}"}, {"body": None}],
    ids=["asks for nothing", "is here", "none"],
)
def test_the_look_ahead_is_for_bodies_that_wait_to_be_asked_for(fields):
    """All others meet the limits in their place, once."""
    world = World(Limits(1))
    assert world.serve() is None
    assert looked_ahead(world, **fields) is None


def test_the_look_ahead_leaves_room_to_wait():
    """With a time to wait, a request over the limit may still be served."""
    world = World(Limits(1), max_wait_s=120.0)
    assert world.serve() is None
    assert looked_ahead(world) is None


def test_an_empty_token_bucket_holds_nobody_back_who_may_need_none():
    """What calls of other endpoints cost is known with their bodies only."""
    world = World(Limits(None, 10), estimate=lambda *_: 10)
    assert world.serve(usage=Usage(10, 0, 10)) is None
    assert looked_ahead(world) is None


def test_what_is_reserved_may_be_estimated_otherwise():
    """The estimate is whoever's composes the stages."""
    world = World(Limits(None, 100), estimate=lambda *request: 100)
    world.ask()
    assert type(world.serve()) is TokenLimitReached


def test_used_tokens_are_charged():
    """Once responses used the tokens up, the next request is refused."""
    world = World(Limits(None, 100))
    asked = {"model": "m", "max_tokens": 5}
    assert world.serve(document=asked, usage=Usage(40, 40)) is None
    assert world.serve(document=asked, usage=Usage(40, 40)) is None
    error = world.serve(document=asked)
    assert type(error) is TokenLimitReached
    assert error.type == "tokens"
    headers = dict(error.headers)
    assert headers[b"x-ratelimit-limit-tokens"] == b"100"
    assert headers[b"x-ratelimit-remaining-tokens"] == b"0"


def test_usage_completed_by_an_inner_stage_at_the_end_is_seen():
    """Usage that is known only when the exchange ends is what is charged."""
    world = World(Limits(None, 100))
    exchange, _ = world.ask(document={"model": "m"})
    exchange.on_end(lambda e: setattr(e, "usage", Usage(100, 50)))
    world.forwarded[-1].callback("response")
    exchange.status = 200
    exchange.end(Outcome.COMPLETE, 1.0)
    assert type(world.serve()) is TokenLimitReached


def test_a_short_wait_instead_of_a_refusal():
    """If waiting is allowed, a request that is admitted soon waits."""
    world = World(Limits(60, None, None), max_wait_s=2.0)
    for _ in range(60):
        world.serve()
    world.ask()
    assert len(world.forwarded) == 60
    world.clock.advance(1.0)
    assert len(world.forwarded) == 61


def test_a_wait_for_a_slot_ends_when_one_is_free_or_time_is_up():
    """A request waits for a slot as long as allowed, then is refused; its client may leave meanwhile."""
    world = World(Limits(None, None, 1), max_wait_s=1.0)
    exchange, _ = world.ask()
    world.ask()
    _, third = world.ask()
    third.cancel()
    third.addErrback(lambda _: None)
    world.clock.pump([0.05] * 5)
    assert len(world.forwarded) == 1
    exchange.end(Outcome.COMPLETE, 1.0)
    world.forwarded[-1].callback("response")
    world.clock.pump([0.05] * 2)
    assert len(world.forwarded) == 2
    _, fourth = world.ask()
    errors = []
    fourth.addErrback(lambda f: errors.append(type(f.value)))
    world.clock.pump([0.05] * 21)
    assert errors == [ConcurrencyLimitReached]
    assert world.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"status": 200, "model": "m", "usage": Usage(3, 4)}, 7.0),
        ({"status": 200, "model": "m"}, 10.0),
        ({"status": 200}, 0.0),
        ({"status": 200, "model": "m", "cached": True, "usage": Usage(3, 4)}, 0.0),
        ({"status": 500, "model": "m", "attempts": 1}, 0.0),
        ({"status": 200, "model": "m", "is_error_behind_200": True}, 0.0),
        ({"status": 200, "model": "m", "is_error_in_stream": True, "usage": Usage(3, 4)}, 7.0),
        ({"outcome": Outcome.CLIENT_GONE, "model": "m", "attempts": 1}, 10.0),
        ({"outcome": Outcome.CLIENT_GONE, "model": "m"}, 0.0),
        ({"outcome": Outcome.UPSTREAM_ERROR, "model": "m", "attempts": 3}, 0.0),
    ],
)
def test_what_an_exchange_cost(fields, expected):
    """Usage if there is one, the reservation if tokens may have flowed, else nothing."""
    exchange = Exchange(started=0.0, timestamp=0.0, method="POST", path="/v1/x")
    for name, value in fields.items():
        setattr(exchange, name, value)
    assert expected == used_model_tokens(exchange, 10.0)


def grouped(team, everybody=None, **options):
    """Two keys of one team."""
    everybody = Limits(5) if everybody is None else everybody
    scopes = [GroupScope("team", team)]
    return World(everybody, groups={"a": scopes, "b": scopes}, **options)


def test_a_group_shares_its_limits_and_is_named():
    """A refused request is charged to nobody."""
    world = grouped(Limits(3))
    assert [world.serve(key=key) for key in "aab"] == [None] * 3
    error = world.serve(key="b")
    assert type(error) is RequestLimitReached
    assert "for the group 'team': 3 requests a minute are used up" in error.message
    assert (b"x-ratelimit-limit-requests", b"3") in error.headers
    look = world.store.decide("b", Limits(5, None, 0), 0.0)
    assert look.levels.requests == pytest.approx(4.0)
    assert world.serve(key="c") is None
    world.clock.advance(20)
    assert world.serve(key="b") is None


def test_the_own_limit_of_a_key_is_asked_first():
    """Then the group keeps what it has."""
    world = grouped(Limits(10), Limits(1))
    assert world.serve(key="a") is None
    assert "group" not in world.serve(key="a").message
    assert world.store.decide(GROUP + "team", Limits(10, None, 0), 0.0).levels.requests == pytest.approx(9.0)


def test_a_group_counts_what_runs_and_what_was_used():
    """Slots and model tokens are settled in the key and in the group."""
    team = Limits(None, 1000, 2)
    world = grouped(team, Limits(None, 800))
    document = {"model": "m", "max_tokens": 100}
    running = [world.ask(key=key, document=document)[0] for key in "ab"]
    assert type(world.serve(key="a", document=document)) is ConcurrencyLimitReached
    for exchange, answer in zip(running, world.forwarded, strict=True):
        answer.callback("response")
        exchange.status, exchange.usage = 200, Usage(100, 100)
        exchange.end(Outcome.COMPLETE, 1.0)
    look = world.store.decide(GROUP + "team", Limits(None, 1000, 0), 0.0)
    assert (look.levels.model_tokens, look.levels.running) == (600.0, 0)
    assert world.store.decide("a", Limits(None, 800, 0), 0.0).levels.model_tokens == 600.0


def test_a_key_without_limits_of_its_own_is_limited_by_its_group():
    """None for everybody, some for the team."""
    world = grouped(Limits(1), Limits())
    assert world.serve(key="a") is None
    assert type(world.serve(key="b")) is RequestLimitReached
    assert world.serve(key="c") is None


def test_a_client_that_leaves_while_it_waits_for_its_group_frees_the_key():
    """What was taken in the key comes back."""
    world = grouped(Limits(None, None, 1), Limits(5, None, 2), max_wait_s=10.0)
    world.ask(key="b")
    _, waiting = world.ask(key="a")
    assert world.store.decide("a", Limits(5, None, 0), 0.0).levels == (4.0, float("inf"), 1)
    waiting.addErrback(lambda failure: None)
    waiting.cancel()
    assert world.store.decide("a", Limits(5, None, 0), 0.0).levels == (5.0, float("inf"), 0)


def test_a_turn_that_ends_while_its_group_is_asked_frees_what_the_key_has():
    """The store is Redis, which takes a while; the slot would have been renewed for ever."""
    world = grouped(Limits(None, None, 2), Limits(None, None, 2))
    decide, asked = world.store.decide, []

    async def admit(key, limits, cost, id):
        asked.append(key)
        return decide(key, limits, cost) if len(asked) == 1 else await Deferred()

    world.store.admit = admit
    exchange = Exchange(started=0.0, timestamp=0.0, method="WS", path="/v1/x", credential_id="a")
    request = ProxyRequest(method=b"POST", target=b"/x", headers=[], body=b"{}", exchange=exchange)
    turn = Deferred.fromCoroutine(world.stage.count(request, None))
    assert decide("a", Limits(None, None, 0), 0.0).levels.running == 1
    turn.addErrback(lambda failure: None)
    turn.cancel()
    exchange.end(Outcome.CLIENT_GONE, 1.0)
    assert asked == ["a", GROUP + "team"]
    assert decide("a", Limits(None, None, 0), 0.0).levels.running == 0

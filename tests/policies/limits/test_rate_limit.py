"""The limits of a key as its client meets them."""

import fakes
import pytest
from fakes import HeldForward, outcome_of, refusal, results_of, through
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


class LimitedKeys:
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
        self.forward = HeldForward()

    def ask(self, key="k", body=b"{}", document=None):
        """Start a request; return (exchange, deferred of its response)."""
        exchange = fakes.exchange(credential_id=key)
        exchange.model = (document or {}).get("model")
        request = ProxyRequest(
            method=b"POST", target=b"/x", headers=[], body=body, exchange=exchange, document=document
        )
        return exchange, through(self.stage, request, self.forward)

    def serve(self, usage=None, **kwargs):
        """Run one whole exchange; return the error or None."""
        before = len(self.forward.calls)
        exchange, done = self.ask(**kwargs)
        if len(self.forward.calls) == before:
            return outcome_of(done)
        self.forward.calls[-1].callback("response")
        exchange.status = 200
        exchange.usage = usage
        exchange.end(Outcome.COMPLETE, 1.0)
        return None


def test_requests_over_the_limit_are_refused():
    """The request over the limit gets a 429 that says when to come back."""
    limited = LimitedKeys(Limits(3))
    assert [limited.serve() for _ in range(3)] == [None] * 3
    error = limited.serve()
    assert type(error) is RequestLimitReached
    assert (b"retry-after", b"20") in error.headers
    assert (b"retry-after-ms", b"20000") in error.headers
    assert len(limited.forward.calls) == 3
    limited.clock.advance(20)
    assert limited.serve() is None


def test_a_key_with_its_own_limit():
    """A key's own limit stands in place of everybody's."""
    limited = LimitedKeys(Limits(1), {"big": Limits(3)})
    assert [type(limited.serve(key="big")) for _ in range(4)] == [type(None)] * 3 + [RequestLimitReached]
    assert [type(limited.serve()) for _ in range(2)] == [type(None), RequestLimitReached]


@pytest.mark.parametrize("how", ["end", "client gone", "failure", "ended before"])
def test_a_slot_is_freed_however_the_exchange_ends(how):
    """A slot comes back when the exchange ends, also if its client left."""
    limited = LimitedKeys(Limits(None, None, 1))
    exchange, done = limited.ask()
    assert type(limited.serve()) is ConcurrencyLimitReached
    if how == "end":
        limited.forward.calls[-1].callback("response")
        assert type(limited.serve()) is ConcurrencyLimitReached
    elif how == "client gone":
        done.cancel()
    elif how == "failure":
        limited.forward.calls[-1].errback(ValueError())
    else:
        exchange.end(Outcome.CLIENT_GONE, 1.0)
        done.cancel()
    done.addErrback(lambda _: None)
    exchange.end(Outcome.COMPLETE, 1.0)
    assert limited.serve() is None


class Arriving:
    """A body that is still on its way."""

    length = 10


EXPECTS = [(b"expect", b"100-continue")]


def looked_ahead(limited, headers=EXPECTS, **fields):
    """Return the error of a look at the limits before the body is read; None if it goes on."""
    exchange = fakes.exchange(credential_id="k")
    fields = {"body": Arriving(), "buffered": True, **fields}
    request = ProxyRequest(method=b"POST", target=b"/x", headers=headers, exchange=exchange, **fields)
    return refusal(limited.stage.look_ahead, request)


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
    limited = LimitedKeys(limits, estimate=lambda *_: 10)
    needed = {"required": ("model",), "buffered": buffered}
    assert [looked_ahead(limited, **needed) for _ in range(3)] == [None] * 3  # looking costs nothing
    exchange, running = limited.ask()
    refused = looked_ahead(limited, **needed)
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
    limited = LimitedKeys(Limits(1))
    assert limited.serve() is None
    assert looked_ahead(limited, **fields) is None


def test_the_look_ahead_leaves_room_to_wait():
    """With a time to wait, a request over the limit may still be served."""
    limited = LimitedKeys(Limits(1), max_wait_s=120.0)
    assert limited.serve() is None
    assert looked_ahead(limited) is None


def test_an_empty_token_bucket_holds_nobody_back_who_may_need_none():
    """What calls of other endpoints cost is known with their bodies only."""
    limited = LimitedKeys(Limits(None, 10), estimate=lambda *_: 10)
    assert limited.serve(usage=Usage(10, 0, 10)) is None
    assert looked_ahead(limited) is None


def test_what_is_reserved_may_be_estimated_otherwise():
    """The estimate is whoever's composes the stages."""
    limited = LimitedKeys(Limits(None, 100), estimate=lambda *request: 100)
    limited.ask()
    assert type(limited.serve()) is TokenLimitReached


def test_used_tokens_are_charged():
    """Once responses used the tokens up, the next request is refused."""
    limited = LimitedKeys(Limits(None, 100))
    asked = {"model": "m", "max_tokens": 5}
    assert limited.serve(document=asked, usage=Usage(40, 40)) is None
    assert limited.serve(document=asked, usage=Usage(40, 40)) is None
    error = limited.serve(document=asked)
    assert type(error) is TokenLimitReached
    assert error.type == "tokens"
    headers = dict(error.headers)
    assert headers[b"x-ratelimit-limit-tokens"] == b"100"
    assert headers[b"x-ratelimit-remaining-tokens"] == b"0"


def test_usage_completed_by_an_inner_stage_at_the_end_is_seen():
    """Usage that is known only when the exchange ends is what is charged."""
    limited = LimitedKeys(Limits(None, 100))
    exchange, _ = limited.ask(document={"model": "m"})
    exchange.on_end(lambda e: setattr(e, "usage", Usage(100, 50)))
    limited.forward.calls[-1].callback("response")
    exchange.status = 200
    exchange.end(Outcome.COMPLETE, 1.0)
    assert type(limited.serve()) is TokenLimitReached


def test_a_short_wait_instead_of_a_refusal():
    """If waiting is allowed, a request that is admitted soon waits."""
    limited = LimitedKeys(Limits(60, None, None), max_wait_s=2.0)
    for _ in range(60):
        limited.serve()
    limited.ask()
    assert len(limited.forward.calls) == 60
    limited.clock.advance(1.0)
    assert len(limited.forward.calls) == 61


def test_a_wait_for_a_slot_ends_when_one_is_free_or_time_is_up():
    """A request waits for a slot as long as allowed, then is refused; its client may leave meanwhile."""
    limited = LimitedKeys(Limits(None, None, 1), max_wait_s=1.0)
    exchange, _ = limited.ask()
    limited.ask()
    _, third = limited.ask()
    third.cancel()
    third.addErrback(lambda _: None)
    limited.clock.pump([0.05] * 5)
    assert len(limited.forward.calls) == 1
    exchange.end(Outcome.COMPLETE, 1.0)
    limited.forward.calls[-1].callback("response")
    limited.clock.pump([0.05] * 2)
    assert len(limited.forward.calls) == 2
    _, fourth = limited.ask()
    errors = results_of(fourth)
    limited.clock.pump([0.05] * 21)
    assert [type(error) for error in errors] == [ConcurrencyLimitReached]
    assert limited.clock.getDelayedCalls() == []


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
    return LimitedKeys(everybody, groups={"a": scopes, "b": scopes}, **options)


def test_a_group_shares_its_limits_and_is_named():
    """A refused request is charged to nobody."""
    limited = grouped(Limits(3))
    assert [limited.serve(key=key) for key in "aab"] == [None] * 3
    error = limited.serve(key="b")
    assert type(error) is RequestLimitReached
    assert "for the group 'team': 3 requests a minute are used up" in error.message
    assert (b"x-ratelimit-limit-requests", b"3") in error.headers
    look = limited.store.decide("b", Limits(5, None, 0), 0.0)
    assert look.levels.requests == pytest.approx(4.0)
    assert limited.serve(key="c") is None
    limited.clock.advance(20)
    assert limited.serve(key="b") is None


def test_the_own_limit_of_a_key_is_asked_first():
    """Then the group keeps what it has."""
    limited = grouped(Limits(10), Limits(1))
    assert limited.serve(key="a") is None
    assert "group" not in limited.serve(key="a").message
    assert limited.store.decide(GROUP + "team", Limits(10, None, 0), 0.0).levels.requests == pytest.approx(
        9.0
    )


def test_a_group_counts_what_runs_and_what_was_used():
    """Slots and model tokens are settled in the key and in the group."""
    team = Limits(None, 1000, 2)
    limited = grouped(team, Limits(None, 800))
    document = {"model": "m", "max_tokens": 100}
    running = [limited.ask(key=key, document=document)[0] for key in "ab"]
    assert type(limited.serve(key="a", document=document)) is ConcurrencyLimitReached
    for exchange, answer in zip(running, limited.forward.calls, strict=True):
        answer.callback("response")
        exchange.status, exchange.usage = 200, Usage(100, 100)
        exchange.end(Outcome.COMPLETE, 1.0)
    look = limited.store.decide(GROUP + "team", Limits(None, 1000, 0), 0.0)
    assert (look.levels.model_tokens, look.levels.running) == (600.0, 0)
    assert limited.store.decide("a", Limits(None, 800, 0), 0.0).levels.model_tokens == 600.0


def test_a_key_without_limits_of_its_own_is_limited_by_its_group():
    """None for everybody, some for the team."""
    limited = grouped(Limits(1), Limits())
    assert limited.serve(key="a") is None
    assert type(limited.serve(key="b")) is RequestLimitReached
    assert limited.serve(key="c") is None


def test_a_client_that_leaves_while_it_waits_for_its_group_frees_the_key():
    """What was taken in the key comes back."""
    limited = grouped(Limits(None, None, 1), Limits(5, None, 2), max_wait_s=10.0)
    limited.ask(key="b")
    _, waiting = limited.ask(key="a")
    assert limited.store.decide("a", Limits(5, None, 0), 0.0).levels == (4.0, float("inf"), 1)
    waiting.addErrback(lambda failure: None)
    waiting.cancel()
    assert limited.store.decide("a", Limits(5, None, 0), 0.0).levels == (5.0, float("inf"), 0)


def test_a_turn_that_ends_while_its_group_is_asked_frees_what_the_key_has():
    """The store is Redis, which takes a while; the slot would have been renewed for ever."""
    limited = grouped(Limits(None, None, 2), Limits(None, None, 2))
    decide, asked = limited.store.decide, []

    async def admit(key, limits, cost, id):
        asked.append(key)
        return decide(key, limits, cost) if len(asked) == 1 else await Deferred()

    limited.store.admit = admit
    exchange = fakes.exchange(method="WS", credential_id="a")
    request = ProxyRequest(method=b"POST", target=b"/x", headers=[], body=b"{}", exchange=exchange)
    turn = Deferred.fromCoroutine(limited.stage.count(request, None))
    assert decide("a", Limits(None, None, 0), 0.0).levels.running == 1
    turn.addErrback(lambda failure: None)
    turn.cancel()
    exchange.end(Outcome.CLIENT_GONE, 1.0)
    assert asked == ["a", GROUP + "team"]
    assert decide("a", Limits(None, None, 0), 0.0).levels.running == 0

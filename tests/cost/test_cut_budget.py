"""Budgets that end a stream."""

import json
import zlib

import pytest
from fakes import Body, Reader
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from openai_proxy.cost.budget import GROUP, Account, Budget, Need
from openai_proxy.cost.budget_store import MemoryBudgets
from openai_proxy.cost.cut_budget import CutBudget
from openai_proxy.cost.keep_budget import KeepBudget
from openai_proxy.cost.ledger import SharedLedger
from openai_proxy.cost.prices import OwnPrice, Price
from openai_proxy.cost.pricing import Pricing
from openai_proxy.exchange.errors import BudgetSpent
from openai_proxy.exchange.messages import ProxyRequest, ProxyResponse
from openai_proxy.exchange.record import Exchange

STREAM = [(b"content-type", b"text/event-stream")]
NOON = 1_795_262_400.0


class World:
    """Model `m` costs a dollar for each output token; a token is four letters."""

    def __init__(self, limit_usd=10.0, groups=None, headers=STREAM, endpoint="chat/completions", model="m"):
        pricing = Pricing([OwnPrice("m", Price(0.0, 1_000_000.0))])
        self.clock = Clock()
        self.ledger = SharedLedger(MemoryBudgets(), Clock())
        budgets = {"alice": Budget(limit_usd, "day")}
        groups = groups or {}
        keep = KeepBudget(self.ledger, budgets, pricing.cost_usd, pricing.settle, groups=groups)
        cut = CutBudget(self.ledger, budgets, groups, pricing.cost_usd, self.clock.seconds)
        self.body, self.reader = Body(), Reader()
        self.exchange = Exchange(
            0.0, NOON, "POST", "/v1/x", credential_id="alice", endpoint=endpoint, streaming=True, model=model
        )
        document = {"model": model, "max_tokens": 1}
        request = ProxyRequest(b"POST", b"/x", [], b"{}", self.exchange, document=document, prompt_estimate=0)

        async def forward(request):
            return ProxyResponse(200, b"OK", headers, self.body)

        async def inner(request):
            return await keep(request, forward)

        results = []
        Deferred.fromCoroutine(cut(request, inner)).addCallback(results.append)
        self.response = results[0]
        self.response.body.deliverBody(self.reader)

    def says(self, tokens, end="\n\n"):
        text = {"choices": [{"index": 0, "delta": {"content": "word" * tokens}}]}
        if self.exchange.endpoint == "responses":
            text = {"type": "response.output_text.delta", "delta": "word" * tokens}
        self.body.feed(f"data: {json.dumps(text)}{end}".encode())

    def spend(self, usd, key="alice"):
        self.ledger.charge(Account(key, "2026-11-21"), usd)


def test_a_stream_passes_while_there_is_money():
    """To the last token that is left."""
    world = World()
    world.says(5)
    world.says(5)
    world.body.end()
    assert (world.reader.data.count(b"data:"), type(world.reader.reason).__name__) == (2, "ResponseDone")


def test_a_stream_that_costs_too_much_is_cut():
    """At the end of the event that did it, with an error that an SDK can read; the upstream is stopped."""
    world = World()
    world.says(9)
    world.body.feed(b": ping\n")
    world.says(2, end="\n")
    assert world.body.discards == 0
    world.body.feed(b"\n" + b"data: {")
    assert world.body.discards == 1
    events = world.reader.data.split(b"\n\n")
    error = json.loads(events[2].removeprefix(b"data: "))["error"]
    assert (error["code"], error["type"], len(events), events[3]) == (
        "insufficient_quota",
        "insufficient_quota",
        4,
        b"",
    )
    assert "$11.00, of $10.00 for 2026-11-21 $10.00 were left" in error["message"]
    assert isinstance(world.reader.reason, BudgetSpent)
    assert world.exchange.rate_limited == "budget"
    world.body.feed(b"more")
    assert world.reader.data.endswith(b"\n\n")


def test_an_event_that_has_only_begun_does_not_pass():
    """If nothing of it has gone out, the stream ends before it."""
    world = World()
    world.says(9)
    world.says(2, end="")
    assert (world.body.discards, world.reader.data.count(b"word")) == (1, 9)


def test_responses_get_their_own_kind_of_error():
    """No `response.incomplete` is made up."""
    world = World(endpoint="responses")
    world.says(11)
    event = world.reader.data.split(b"\n\n")[1]
    assert event.startswith(b'event: error\ndata: {"type": "error", "code": "insufficient_quota"')
    assert b"incomplete" not in world.reader.data


def test_what_others_spend_meanwhile_counts():
    """The account is looked at again every second while something comes."""
    world = World()
    world.says(4)
    world.spend(5.0)
    world.says(4)
    assert world.body.discards == 0
    world.clock.advance(1.0)
    world.says(1)
    world.says(1)
    assert world.body.discards == 1


def test_a_group_that_has_nothing_left_cuts_too():
    """The message names it."""
    world = World(groups={"alice": [(GROUP + "team", Budget(3.0, "day"))]})
    world.says(4)
    assert b"the group 'team'" in world.reader.data


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": [(b"content-type", b"application/json")]},
        {"headers": [*STREAM, (b"content-encoding", b"unheard-of")]},
        {"model": "unpriced"},
    ],
)
def test_what_cannot_be_counted_passes(changes):
    """Documents, what nobody here can decompress, and models without a price: they are settled at their end."""
    world = World(**changes)
    world.says(100)
    assert world.body.discards == 0


@pytest.mark.parametrize("tokens", [(9, 2), (5, 5)])
def test_a_compressed_stream_is_cut_too(tokens):
    """It reached its end uncounted: an upstream that compresses had no such budget. Its client gets it decoded."""
    world = World(headers=[*STREAM, (b"content-encoding", b"gzip"), (b"content-length", b"99")])
    assert world.response.headers == STREAM
    packer, plain = zlib.compressobj(wbits=31), world.body.feed
    world.body.feed = lambda data: plain(packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))
    for each in tokens:
        world.says(each)
    assert world.body.discards == (sum(tokens) > 10)
    if world.body.discards:
        assert isinstance(world.reader.reason, BudgetSpent)
        assert world.reader.data.count(b"\n\n") == 3
        return
    plain(packer.flush())
    world.body.end()
    assert (world.reader.data.count(b"word"), type(world.reader.reason).__name__) == (10, "ResponseDone")


def test_a_compressed_stream_that_cannot_be_priced_stays_compressed():
    """Nobody would count what is in it."""
    headers = [*STREAM, (b"content-encoding", b"gzip")]
    world = World(headers=headers, model="unpriced")
    world.body.feed(b"raw")
    assert (world.response.headers, world.reader.data) == (headers, b"raw")


def test_money_that_is_set_aside_for_the_stream_is_its_own():
    """It is not counted against it; that of others is."""
    world = World()
    results = []
    Deferred.fromCoroutine(world.ledger.reserve(Account("alice", "2026-11-21"), Need(4.0, 10.0))).addCallback(
        results.append
    )
    world.clock.advance(1.0)
    world.says(5)
    world.says(2)
    assert world.body.discards == 1

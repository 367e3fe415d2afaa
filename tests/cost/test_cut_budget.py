"""Budgets that end a stream."""

import json
import zlib

import fakes
import pytest
from cost.budgeted import NOON, ledger, pricing
from fakes import Body, Forward, Reader, result_of, through
from twisted.internet.task import Clock

from openai_proxy.cost.budget import GROUP, Account, Budget, Need
from openai_proxy.cost.cut_budget import CutBudget
from openai_proxy.cost.keep_budget import KeepBudget
from openai_proxy.exchange.errors import BudgetSpent
from openai_proxy.exchange.messages import ProxyRequest, ProxyResponse
from openai_proxy.policies.chains import compose

STREAM = [(b"content-type", b"text/event-stream")]


class BudgetedStream:
    """A stream whose tokens have four letters each."""

    def __init__(self, limit_usd=10.0, groups=None, headers=STREAM, endpoint="chat/completions", model="m"):
        prices, self.clock, self.ledger = pricing(), Clock(), ledger()
        budgets, groups = {"alice": Budget(limit_usd, "day")}, groups or {}
        keep = KeepBudget(self.ledger, budgets, prices.cost_usd, prices.settle, groups=groups)
        cut = CutBudget(self.ledger, budgets, groups, prices.cost_usd, self.clock.seconds)
        self.body, self.reader = Body(), Reader()
        self.exchange = fakes.exchange(
            timestamp=NOON, credential_id="alice", endpoint=endpoint, streaming=True, model=model
        )
        document = {"model": model, "max_tokens": 1}
        request = ProxyRequest(b"POST", b"/x", [], b"{}", self.exchange, document=document, prompt_estimate=0)
        forward = Forward(ProxyResponse(200, b"OK", headers, self.body))
        self.response = result_of(through(compose([cut, keep], forward), request))
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
    stream = BudgetedStream()
    stream.says(5)
    stream.says(5)
    stream.body.end()
    assert (stream.reader.data.count(b"data:"), type(stream.reader.reason).__name__) == (2, "ResponseDone")


def test_a_stream_that_costs_too_much_is_cut():
    """At the end of the event that did it, with an error that an SDK can read; the upstream is stopped."""
    stream = BudgetedStream()
    stream.says(9)
    stream.body.feed(b": ping\n")
    stream.says(2, end="\n")
    assert stream.body.discards == 0
    stream.body.feed(b"\n" + b"data: {")
    assert stream.body.discards == 1
    events = stream.reader.data.split(b"\n\n")
    error = json.loads(events[2].removeprefix(b"data: "))["error"]
    assert (error["code"], error["type"], len(events), events[3]) == (
        "insufficient_quota",
        "insufficient_quota",
        4,
        b"",
    )
    assert "$11.00, of $10.00 for 2026-11-21 $10.00 were left" in error["message"]
    assert isinstance(stream.reader.reason, BudgetSpent)
    assert stream.exchange.rate_limited == "budget"
    stream.body.feed(b"more")
    assert stream.reader.data.endswith(b"\n\n")


def test_an_event_that_has_only_begun_does_not_pass():
    """If nothing of it has gone out, the stream ends before it."""
    stream = BudgetedStream()
    stream.says(9)
    stream.says(2, end="")
    assert (stream.body.discards, stream.reader.data.count(b"word")) == (1, 9)


def test_responses_get_their_own_kind_of_error():
    """No `response.incomplete` is made up."""
    stream = BudgetedStream(endpoint="responses")
    stream.says(11)
    event = stream.reader.data.split(b"\n\n")[1]
    assert event.startswith(b'event: error\ndata: {"type": "error", "code": "insufficient_quota"')
    assert b"incomplete" not in stream.reader.data


def test_what_others_spend_meanwhile_counts():
    """The account is looked at again every second while something comes."""
    stream = BudgetedStream()
    stream.says(4)
    stream.spend(5.0)
    stream.says(4)
    assert stream.body.discards == 0
    stream.clock.advance(1.0)
    stream.says(1)
    stream.says(1)
    assert stream.body.discards == 1


def test_a_group_that_has_nothing_left_cuts_too():
    """The message names it."""
    stream = BudgetedStream(groups={"alice": [(GROUP + "team", Budget(3.0, "day"))]})
    stream.says(4)
    assert b"the group 'team'" in stream.reader.data


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
    stream = BudgetedStream(**changes)
    stream.says(100)
    assert stream.body.discards == 0


@pytest.mark.parametrize("tokens", [(9, 2), (5, 5)])
def test_a_compressed_stream_is_cut_too(tokens):
    """It reached its end uncounted: an upstream that compresses had no such budget. Its client gets it decoded."""
    stream = BudgetedStream(headers=[*STREAM, (b"content-encoding", b"gzip"), (b"content-length", b"99")])
    assert stream.response.headers == STREAM
    packer, plain = zlib.compressobj(wbits=31), stream.body.feed
    stream.body.feed = lambda data: plain(packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))
    for each in tokens:
        stream.says(each)
    assert stream.body.discards == (sum(tokens) > 10)
    if stream.body.discards:
        assert isinstance(stream.reader.reason, BudgetSpent)
        assert stream.reader.data.count(b"\n\n") == 3
        return
    plain(packer.flush())
    stream.body.end()
    assert (stream.reader.data.count(b"word"), type(stream.reader.reason).__name__) == (10, "ResponseDone")


def test_a_compressed_stream_that_cannot_be_priced_stays_compressed():
    """Nobody would count what is in it."""
    headers = [*STREAM, (b"content-encoding", b"gzip")]
    stream = BudgetedStream(headers=headers, model="unpriced")
    stream.body.feed(b"raw")
    assert (stream.response.headers, stream.reader.data) == (headers, b"raw")


def test_money_that_is_set_aside_for_the_stream_is_its_own():
    """It is not counted against it; that of others is."""
    stream = BudgetedStream()
    result_of(stream.ledger.reserve(Account("alice", "2026-11-21"), Need(4.0, 10.0)))
    stream.clock.advance(1.0)
    stream.says(5)
    stream.says(2)
    assert stream.body.discards == 1

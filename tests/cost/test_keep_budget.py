"""Budgets as a key's client meets them."""

import json

import fakes
import pytest
from cost.budgeted import balance_of, ledger, pricing
from fakes import HeldForward, results_of, through
from twisted.internet.defer import CancelledError, Deferred

from openai_proxy.cost.budget import GROUP, Account, Balance, Budget
from openai_proxy.cost.keep_budget import KeepBudget, charged_usd
from openai_proxy.exchange.errors import BudgetSpent
from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.exchange.usage import TokenKinds, Usage

MIDNIGHT = 1_795_305_600.0
"""2026-11-22T00:00:00Z."""


class BudgetedKeys:
    """A stage over an upstream that answers when the test says so."""

    def __init__(self, groups=None, **budgets):
        prices = pricing()
        self.ledger = ledger()
        self.stage = KeepBudget(
            self.ledger,
            {key: Budget(limit_usd, "day") for key, limit_usd in budgets.items()},
            prices.cost_usd,
            prices.settle,
            groups=groups,
        )
        self.forward = HeldForward()

    def ask(
        self,
        key="alice",
        model="m",
        max_tokens=None,
        method=b"POST",
        at=MIDNIGHT - 60,
        endpoint="chat/completions",
        **changes,
    ):
        """Start a request; return (exchange, what came of it)."""
        exchange = fakes.exchange(
            timestamp=at, method=method.decode(), credential_id=key, model=model, endpoint=endpoint
        )
        document = {"model": model} | ({"max_tokens": max_tokens} if max_tokens else {})
        request = ProxyRequest(method, b"/x", [], b"{}", exchange, document=document).evolve(**changes)
        self.running = through(self.stage, request, self.forward)
        return exchange, results_of(self.running)

    def serve(self, output_tokens=None, **how):
        """Run one whole exchange; return the error or None."""
        before = len(self.forward.calls)
        exchange, ends = self.ask(**how)
        if len(self.forward.calls) == before:
            return ends[0]
        self.forward.calls[-1].callback("response")
        exchange.status = 200
        if output_tokens is not None:
            exchange.usage = Usage(0, output_tokens)
        exchange.end(Outcome.COMPLETE, 1.0)
        return None

    def balance(self, period="2026-11-21", key="alice"):
        return balance_of(self.ledger, key, period)


@pytest.mark.parametrize("endpoint", ["responses/input_tokens", "chat/completions/input_tokens"])
def test_counting_tokens_costs_nothing(endpoint):
    """No model runs, so nothing is reserved or charged, and a spent budget does not refuse it."""
    keys = BudgetedKeys(alice=10.0)
    assert keys.serve(endpoint=endpoint, max_tokens=5) is None
    assert keys.balance().spent_usd == 0.0
    assert keys.serve(output_tokens=12) is None
    assert keys.serve(endpoint=endpoint) is None
    assert isinstance(keys.serve(), BudgetSpent)


def test_a_spent_budget_refuses_and_tells_not_to_retry():
    """The last request may cost more than was left; the next one gets 429."""
    keys = BudgetedKeys(alice=10.0)
    assert keys.serve(9) is None
    assert keys.serve(9) is None
    error = keys.serve()
    assert isinstance(error, BudgetSpent)
    assert (error.status, error.type, error.code) == (429, "insufficient_quota", "insufficient_quota")
    assert error.headers == ((b"x-should-retry", b"false"),)
    assert keys.balance().spent_usd == 18.0


def test_other_keys_do_not_notice():
    """Without a budget nothing is counted, and the stage is out of the way."""
    keys = BudgetedKeys(alice=1.0)
    assert keys.serve(5) is None
    assert isinstance(keys.serve(), BudgetSpent)
    assert keys.serve(5, key="bob") is None
    assert list(keys.ledger._books) == [Account("alice", "2026-11-21")]


def test_parallel_requests_reserve_what_they_ask_for_at_most():
    """Fifty at once get what the budget pays for."""
    keys = BudgetedKeys(alice=10.0)
    asked = [keys.ask(max_tokens=1) for _ in range(50)]
    assert len(keys.forward.calls) == 10
    assert sum(1 for _, ends in asked if ends) == 40
    assert keys.balance().held_usd == 10.0


def test_what_was_not_used_is_free_again():
    """Settled with the real cost, not the reservation."""
    keys = BudgetedKeys(alice=10.0)
    assert keys.serve(1, max_tokens=10) is None
    assert keys.serve(1, max_tokens=9) is None
    assert isinstance(keys.serve(max_tokens=9), BudgetSpent)


def test_a_model_without_a_price_is_let_in_until_the_budget_is_spent():
    """Nobody knows what to reserve, nor to charge."""
    keys = BudgetedKeys(alice=10.0)
    assert keys.serve(500, model="unknown") is None
    assert keys.balance().spent_usd == 0.0
    keys.serve(10)
    assert isinstance(keys.serve(1, model="unknown"), BudgetSpent)


def test_what_costs_nothing_passes_a_spent_budget():
    """Lists of models and files; a WebSocket is not among them."""
    keys = BudgetedKeys(alice=1.0)
    keys.serve(1)
    assert keys.serve(method=b"GET") is None
    assert keys.serve(method=b"DELETE") is None
    assert isinstance(keys.serve(method=b"GET", upgrade=True), BudgetSpent)


def test_an_exchange_that_is_asked_twice_is_charged_once():
    """A stage outside repeats a request without stream_options."""
    keys = BudgetedKeys(alice=10.0)
    exchange, _ = keys.ask(max_tokens=6)
    request = ProxyRequest(b"POST", b"/x", [], b"{}", exchange, document={"model": "m", "max_tokens": 6})
    again = Deferred()
    assert keys.stage(request, lambda request: again) is again
    keys.forward.calls[0].callback("response")
    exchange.status, exchange.usage = 200, Usage(0, 2)
    exchange.end(Outcome.COMPLETE, 1.0)
    assert (keys.balance().spent_usd, keys.balance().held_usd) == (2.0, 0.0)


def test_a_request_over_midnight_is_charged_to_the_day_it_began():
    """The new day begins at nothing, whatever still runs."""
    keys = BudgetedKeys(alice=10.0)
    exchange, _ = keys.ask(max_tokens=10)
    assert keys.serve(3, at=MIDNIGHT) is None
    keys.forward.calls[0].callback("response")
    exchange.status, exchange.usage = 200, Usage(0, 7)
    exchange.end(Outcome.COMPLETE, 1.0)
    assert keys.balance("2026-11-21").spent_usd == 7.0
    assert keys.balance("2026-11-22").spent_usd == 3.0


def test_a_client_that_leaves_before_the_answer_pays_what_was_reserved():
    """The upstream may have worked for it all the same."""
    keys = BudgetedKeys(alice=10.0)
    exchange, ends = keys.ask(max_tokens=4)
    keys.running.cancel()
    exchange.end(Outcome.CLIENT_GONE, 1.0)
    assert isinstance(ends[0], CancelledError)
    assert (keys.balance().spent_usd, keys.balance().held_usd) == (4.0, 0.0)


def test_a_call_that_outlives_its_client_is_settled_when_it_ends():
    """Others share it: its client left long ago."""
    keys = BudgetedKeys(alice=10.0)
    exchange, _ = keys.ask(max_tokens=4)
    exchange.end(Outcome.CLIENT_GONE, 1.0)
    assert keys.balance().held_usd == 4.0
    keys.forward.calls[0].callback("response")
    assert (keys.balance().spent_usd, keys.balance().held_usd) == (4.0, 0.0)


@pytest.mark.parametrize(
    ("fields", "outcome", "charged"),
    [
        ({"status": 200, "cost_usd": 0.5}, Outcome.COMPLETE, 0.5),
        ({"status": 200, "cost_usd": 0.5}, Outcome.CLIENT_GONE, 0.5),
        ({"status": 200, "cached": True}, Outcome.COMPLETE, 0.0),
        ({"status": 200, "usage": Usage(5, 5)}, Outcome.COMPLETE, 0.0),
        ({"status": 200}, Outcome.COMPLETE, 2.0),
        ({"status": 200}, Outcome.UPSTREAM_TRUNCATED, 2.0),
        ({"status": 101}, Outcome.COMPLETE, 2.0),
        ({"status": 500}, Outcome.COMPLETE, 0.0),
        ({"status": 429}, Outcome.COMPLETE, 0.0),
        ({"status": 307}, Outcome.COMPLETE, 0.0),
        ({"status": 502, "error_code": "upstream_unreachable"}, Outcome.UPSTREAM_ERROR, 0.0),
        ({"status": 200, "error_code": "502", "is_error_in_stream": True}, Outcome.COMPLETE, 2.0),
        ({"status": 504, "error_code": "upstream_timeout"}, Outcome.TIMEOUT, 2.0),
        ({}, Outcome.CLIENT_GONE, 2.0),
        ({"attempts": 0}, Outcome.CLIENT_GONE, 0.0),
    ],
)
def test_every_end_has_its_charge(fields, outcome, charged):
    """Known costs, errors, answers that never came."""
    exchange = fakes.exchange(path="/x", **{"attempts": 1, **fields})
    exchange.end(outcome, 1.0)
    assert charged_usd(exchange, 2.0) == charged


@pytest.mark.parametrize(
    ("usage", "tier", "charged"),
    [
        (Usage(5, 5, kinds=TokenKinds(audio_input_tokens=3)), None, 10.0),
        (Usage(5, 5), "priority", 10.0),
        (Usage(0, 0, kinds=TokenKinds(audio_seconds=9.0)), None, 0.0),
    ],
)
def test_tokens_of_a_kind_or_tier_without_a_price_are_not_free(usage, tier, charged):
    """They cost at least what text does: a key could talk, or use a dearer tier, without end."""
    keys = BudgetedKeys(alice=100.0)
    keys.stage._price = lambda model, upstream, usage, timestamp: float(usage.total_tokens)
    exchange, _ = keys.ask(max_tokens=4)
    exchange.usage, exchange.service_tier, exchange.status = usage, tier, 200
    keys.stage._settle_cost = lambda ended: None
    keys.forward.calls[0].callback("response")
    exchange.end(Outcome.COMPLETE, 1.0)
    assert keys.balance().spent_usd == charged


def test_pictures_are_not_reserved_by_their_bytes():
    """A megabyte of image is a few hundred tokens."""
    keys = BudgetedKeys(alice=10.0)
    keys.stage._price = lambda model, upstream, usage, timestamp: usage.input_tokens / 1000
    content = [{"type": "image_url", "image_url": {"url": "data:" + "A" * 100_000}}]
    document = {"model": "m", "messages": [{"role": "user", "content": content}]}
    keys.ask(body=json.dumps(document).encode(), document=document)
    assert keys.balance().held_usd < 1.0


def left_to(keys, heirs_key):
    """Let alice's request, which reserved 5 of her 10 dollars, be left to an exchange of `heirs_key`."""
    exchange, _ = keys.ask(max_tokens=5)
    keys.forward.calls[-1].callback("response")
    heir = fakes.exchange(timestamp=MIDNIGHT - 60, credential_id=heirs_key, model="m", status=200)
    exchange.on_end(lambda ended: ended.leave_to(heir))
    exchange._on_end = exchange._on_end[::-1]  # the cache stands outside, and registers first
    exchange.end(Outcome.CLIENT_GONE, 1.0)
    return heir


@pytest.mark.parametrize(("key", "alice_usd", "bob_usd"), [("alice", 3.0, 0.0), ("bob", 0.0, 3.0)])
def test_a_shared_call_is_charged_to_whoever_is_left(key, alice_usd, bob_usd):
    """What was reserved stays reserved until that one's exchange ends."""
    keys = BudgetedKeys(alice=10.0, bob=10.0)
    heir = left_to(keys, key)
    assert keys.balance() == Balance(0.0, 5.0)
    heir.usage = Usage(0, 3)
    heir.end(Outcome.COMPLETE, 2.0)
    assert keys.balance() == Balance(alice_usd, 0.0)
    assert keys.balance(key="bob").spent_usd == bob_usd


def test_a_shared_call_that_outlives_its_leaders_record_is_charged_to_whoever_is_left():
    """The observers are done with the one who left long before the upstream answers."""
    keys = BudgetedKeys(alice=10.0, bob=10.0)
    exchange, _ = keys.ask(max_tokens=5)
    heir = fakes.exchange(timestamp=MIDNIGHT - 60, credential_id="bob", model="m", status=200)
    exchange.on_end(lambda ended: ended.leave_to(heir))
    exchange.end(Outcome.CLIENT_GONE, 1.0)
    exchange.let_go()
    keys.forward.calls[-1].callback("response")
    heir.usage = Usage(0, 3)
    heir.end(Outcome.COMPLETE, 2.0)
    assert keys.balance() == Balance(0.0, 0.0)
    assert keys.balance(key="bob").spent_usd == 3.0


def test_an_heir_without_a_budget_frees_what_was_reserved():
    """Nobody's budget pays for it."""
    keys = BudgetedKeys(alice=10.0)
    heir = left_to(keys, "carl")
    heir.usage = Usage(0, 3)
    heir.end(Outcome.COMPLETE, 2.0)
    assert keys.balance() == Balance(0.0, 0.0)
    assert heir.cost_usd == 3.0


TEAM, ALL = GROUP + "team", GROUP + "all"


def grouped():
    """Alice has 8 dollars a day of her own, Bob none; their team has 10, and all together 100 a month."""
    above = [(TEAM, Budget(10.0, "day")), (ALL, Budget(100.0, "month"))]
    return BudgetedKeys({"alice": above, "bob": above}, alice=8.0)


def test_a_group_pays_for_all_of_its_keys():
    """What one key spends the others lack, in each group above."""
    keys = grouped()
    assert keys.serve(4) is None
    assert keys.serve(5, key="bob") is None
    assert [keys.balance(key=key).spent_usd for key in ("alice", TEAM)] == [4.0, 9.0]
    assert keys.balance("2026-11", ALL).spent_usd == 9.0
    assert keys.balance(key="bob").spent_usd == 0.0


def test_a_group_without_room_refuses_and_is_named():
    """Nothing stays set aside for a request that did not run."""
    keys = grouped()
    keys.serve(9, key="bob")
    error = keys.serve(max_tokens=3)
    assert "The budget of the group 'team' at openai-proxy is used up" in error.message
    assert "of $10.00 for 2026-11-21 $1.00 are left" in error.message
    assert keys.balance() == Balance(0.0, 0.0)
    assert keys.balance("2026-11", ALL) == Balance(9.0, 0.0)


def test_the_own_budget_of_a_key_is_asked_first():
    """Its holder learns of it rather than of the group."""
    keys = grouped()
    keys.serve(8)
    assert "The budget of 'alice'" in keys.serve(max_tokens=1).message


def test_a_client_that_leaves_while_a_group_is_asked_frees_what_was_set_aside():
    """The store answers when it likes."""
    keys = grouped()
    reserve, waits = keys.ledger.reserve, Deferred()

    async def slow(account, need):
        if account.key == ALL:
            await waits
        return await reserve(account, need)

    keys.ledger.reserve = slow
    _, ends = keys.ask(max_tokens=2)
    assert keys.balance().held_usd == 2.0
    keys.running.cancel()
    assert isinstance(ends[0], CancelledError)
    assert [keys.balance(key=key) for key in ("alice", TEAM)] == [Balance(0.0, 0.0)] * 2


def test_a_call_that_goes_on_is_kept_for_every_account():
    """A batch is paid by the key and its groups when it ends."""
    keys = grouped()
    exchange, _ = keys.ask(max_tokens=2)
    keys.forward.calls[-1].callback("response")
    exchange.status, exchange.pending_call = 200, "batch_1"
    exchange.end(Outcome.COMPLETE, 1.0)
    assert [keys.balance(key=key).held_usd for key in ("alice", TEAM)] == [2.0, 2.0]
    assert keys.balance("2026-11", ALL).held_usd == 2.0

"""Batches are paid for once, when an answer first shows how they ended."""

import gzip
import json

import fakes
import pytest
from cost.budgeted import NOON, balance_of, ledger, pricing
from fakes import JSON, Forward, HeldForward, ReadyBody, outcome_of, response, result_of, through
from twisted.internet.defer import CancelledError, Deferred, fail

from openai_proxy.cost.batch_inputs import MemoryInputs
from openai_proxy.cost.budget import Balance, Budget
from openai_proxy.cost.budget_store import MemoryBudgets
from openai_proxy.cost.keep_budget import KeepBudget
from openai_proxy.cost.pending_calls import MemoryCalls
from openai_proxy.cost.settle_batches import SettleBatches
from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.policies.batches.input import BatchInput, ModelUse
from openai_proxy.policies.chains import compose

KNOWN = BatchInput({"m": ModelUse(2, 0, 10)})
USAGE = {"input_tokens": 0, "output_tokens": 6, "total_tokens": 6}
BEGUN = {"id": "batch_1", "object": "batch", "status": "validating", "input_file_id": "file-1"}
COUNTS = {"total": 2, "completed": 2, "failed": 0}
DONE = {**BEGUN, "status": "completed", "model": "m-2026", "usage": USAGE, "request_counts": COUNTS}


class Batches:
    """Both stages; `dear` costs two dollars for each output token, and each model half in a batch."""

    def __init__(self, budget_usd=100.0):
        self.pricing = pricing(dear=2.0)
        self.store = MemoryBudgets()
        self.inputs = MemoryInputs()
        self.calls = MemoryCalls()
        self.inputs.keep("file-1", "key:alice", KNOWN)
        self.budgets = {} if budget_usd is None else {"alice": Budget(budget_usd, "month")}
        self.restart()

    def restart(self):
        pricing = self.pricing
        self.ledger = ledger(self.store)
        kept_in = self.ledger if self.budgets else None
        self.settle = SettleBatches(pricing.batch_cost_usd, self.calls, kept_in, self.inputs)
        self.keep = KeepBudget(
            self.ledger, self.budgets, pricing.cost_usd, pricing.settle, pricing.batch_cost_usd
        )

    def start(self, forward, method="GET", endpoint="batches/{id}", key="alice", contents=None):
        """Return the exchange of a request, and a Deferred of its response."""
        exchange = fakes.exchange(timestamp=NOON, method=method, credential_id=key)
        request = ProxyRequest(
            method.encode(), b"/x", [], None, exchange, endpoint=endpoint, batch_input=contents
        )
        return exchange, through(compose([self.settle, self.keep], forward), request)

    def ask(self, say, *, status=200, headers=(), outcome=Outcome.COMPLETE, **how):
        data = say if isinstance(say, bytes) else json.dumps(say).encode()
        given = response(ReadyBody(data), JSON, *headers, status=status)
        exchange, asked = self.start(Forward(given), **how)
        assert result_of(asked).status == status
        exchange.status = status
        exchange.end(outcome, 1.0)
        return exchange

    def begin(self, say=BEGUN, **how):
        return self.ask(say, method="POST", endpoint="batches", contents=KNOWN, **how)

    @property
    def balance(self):
        return balance_of(self.ledger)


def test_half_the_price_stays_reserved_until_the_end_is_shown():
    """However often it is requested, it is charged once, and reported once."""
    batches = Batches()
    begun = batches.begin()
    assert (begun.model, begun.cost_usd, begun.usage) == ("m", None, None)
    batches.ask({**BEGUN, "status": "finalizing"})
    assert batches.balance == Balance(0.0, 5.0)
    asked = [batches.ask(DONE) for _ in range(3)]
    assert batches.balance == Balance(3.0, 0.0)
    assert [exchange.cost_usd for exchange in asked] == [3.0, None, None]
    assert (asked[0].model, asked[0].usage.output_tokens, asked[0].service_tier) == ("m", 6, "batch")


def test_a_restart_forgets_nothing():
    """The money is set aside in the store, not in the process."""
    batches = Batches()
    batches.begin()
    batches.restart()
    assert batches.balance == Balance(0.0, 5.0)
    assert batches.ask(DONE).cost_usd == 3.0
    assert batches.balance == Balance(3.0, 0.0)


def test_an_answer_that_is_final_at_once_is_settled_when_somebody_asks():
    """Some servers run a batch before they answer."""
    batches = Batches()
    batches.begin(DONE)
    assert batches.balance == Balance(0.0, 5.0)
    batches.ask(DONE)
    assert batches.balance == Balance(3.0, 0.0)


OTHER = {**DONE, "id": "batch_2", "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}}


@pytest.mark.parametrize(
    "how",
    [
        {"say": gzip.compress(json.dumps(DONE).encode()), "headers": [(b"Content-Encoding", b"gzip")]},
        {"say": DONE, "method": "POST", "endpoint": "batches/{id}/cancel"},
        {"say": {"object": "list", "data": [BEGUN | {"id": "b"}, DONE, OTHER]}, "endpoint": "batches"},
        {"say": DONE, "key": "bob"},
    ],
)
def test_the_end_is_seen_in_every_answer(how):
    """Compressed, cancelled, in a list, asked for by somebody else."""
    batches = Batches()
    batches.begin()
    assert batches.ask(**how).cost_usd == 3.0
    assert batches.balance == Balance(3.0, 0.0)


def test_a_list_settles_all_that_are_over():
    """And the record has the sum."""
    batches = Batches()
    batches.begin()
    batches.begin({**BEGUN, "id": "batch_2"})
    asked = batches.ask({"data": [DONE, OTHER]}, endpoint="batches")
    assert (asked.cost_usd, asked.usage.input_tokens, asked.usage.output_tokens) == (4.0, 3, 8)
    assert batches.balance == Balance(4.0, 0.0)


@pytest.mark.parametrize(
    ("end", "spent_usd"),
    [
        ({"status": "failed"}, 0.0),
        ({"status": "completed", "request_counts": COUNTS}, 5.0),
        ({"status": "expired", "request_counts": {"total": 4, "completed": 1, "failed": 3}}, 1.25),
        ({"status": "cancelled", "request_counts": {"total": 4, "completed": 0}}, 0.0),
        ({"status": "cancelled"}, 5.0),
    ],
)
def test_an_end_without_usage_charges_what_was_done_of_it(end, spent_usd):
    """The share of what was reserved; all of it if nobody counts. The record says the same."""
    batches = Batches()
    batches.begin()
    assert batches.ask({**BEGUN, **end}).cost_usd == spent_usd
    assert batches.balance == Balance(spent_usd, 0.0)


@pytest.mark.parametrize(
    ("uses", "model", "spent_usd"),
    [
        ({"m": ModelUse(1), "dear": ModelUse(1)}, None, 6.0),
        ({"m": ModelUse(1), "dear": ModelUse(1)}, "m", 3.0),
        ({"nobody-knows": ModelUse(1)}, "m", 3.0),
        ({}, "dear", 6.0),
        ({}, None, 0.0),
        ({"nobody-knows": ModelUse(1)}, "nor-this", 0.0),
    ],
)
def test_the_price_is_that_of_the_models_asked_for(uses, model, spent_usd):
    """The dearest of several, unless the answer names one; the answer's model if the file is not known."""
    batches = Batches()
    batches.begin()
    batches.inputs.keep("file-1", "key:alice", BatchInput(uses))
    exchange = batches.ask({**DONE, "model": model})
    assert batches.balance == Balance(spent_usd, 0.0)
    assert exchange.cost_usd == (spent_usd or None)
    assert exchange.usage.output_tokens == 6


def test_inputs_that_cannot_be_looked_up_leave_the_answers_model():
    """A store that is away holds up no settlement."""
    batches = Batches()
    batches.begin()
    batches.inputs.find = lambda name: fail(OSError("no"))
    assert batches.ask({**DONE, "model": "m"}).cost_usd == 3.0


@pytest.mark.parametrize(
    "say", [{**BEGUN, "status": "cancelling"}, b"nonsense", {"data": "x"}, DONE | {"id": "batch_9"}, b""]
)
def test_other_answers_settle_nothing(say):
    """A batch that runs, another batch, an answer that is cut off."""
    batches = Batches()
    batches.begin()
    assert batches.ask(say).cost_usd is None
    assert batches.balance == Balance(0.0, 5.0)


def test_an_error_settles_nothing():
    """Whatever it says."""
    batches = Batches()
    batches.begin()
    batches.ask(DONE, status=500)
    assert batches.balance == Balance(0.0, 5.0)


@pytest.mark.parametrize(
    ("how", "spent_usd"),
    [
        ({"status": 400, "say": {"error": {}}}, 0.0),
        ({"say": b"nonsense"}, 5.0),
    ],
)
def test_a_batch_without_a_name_is_not_waited_for(how, spent_usd):
    """An error frees the money; an answer that names none is charged what was set aside."""
    batches = Batches()
    batches.begin(**how)
    assert batches.balance == Balance(spent_usd, 0.0)


def test_a_client_that_leaves_before_the_answer_pays_what_was_reserved():
    """The batch may have begun, and nobody knows its name."""
    batches = Batches()
    exchange, asked = batches.start(HeldForward(), method="POST", endpoint="batches", contents=KNOWN)
    asked.addErrback(lambda failure: failure.trap(CancelledError))
    asked.cancel()
    exchange.end(Outcome.CLIENT_GONE, 1.0)
    assert batches.balance == Balance(5.0, 0.0)


def test_without_a_budget_the_cost_is_reported_once():
    """The lines and metrics have it, whoever asks how often, also after a restart."""
    batches = Batches(budget_usd=None)
    batches.begin()
    batches.restart()
    assert [batches.ask(DONE).cost_usd for _ in range(3)] == [3.0, None, None]
    batches.restart()
    assert batches.ask(DONE).cost_usd is None


def test_settled_batches_are_remembered_up_to_a_bound():
    """Lists of them are looked through without asking for each; a name that is given out again counts anew."""
    batches = Batches(budget_usd=None)
    batches.settle._settled.update({f"batch_{number}": None for number in range(10_000)})
    batches.begin()
    assert "batch_1" not in batches.settle._settled
    batches.settle._settled["batch_1x"] = None
    assert batches.ask(DONE).cost_usd == 3.0
    assert len(batches.settle._settled) == 10_000
    assert "batch_0" not in batches.settle._settled


def test_a_client_that_leaves_while_its_batches_are_looked_up_settles_nothing():
    """It is no error; whoever asks next settles them."""
    batches = Batches(budget_usd=None)
    batches.begin()
    batches.begin({**BEGUN, "id": "batch_2"})
    find, batches.calls.find = batches.calls.find, lambda name: Deferred()
    body = ReadyBody(json.dumps({"data": [DONE, OTHER]}).encode())
    _, asked = batches.start(Forward(response(body, JSON)), endpoint="batches")
    asked.cancel()
    assert isinstance(outcome_of(asked), CancelledError)
    batches.calls.find = find
    assert batches.ask(DONE).cost_usd == 3.0


def test_two_processes_charge_a_batch_once():
    """Both may be asked at the same time."""
    batches = Batches()
    batches.begin()
    first = batches.settle
    batches.restart()
    second = batches.settle
    costs = []
    for stage in (first, second):
        batches.settle = stage
        costs.append(batches.ask(DONE).cost_usd)
    assert costs == [3.0, None]


@pytest.mark.parametrize("endpoint", ["batches/{id}/other", "files", "responses/{id}"])
def test_other_endpoints_are_left_alone(endpoint):
    """No answer about something else is held back."""
    batches = Batches()
    batches.begin()
    assert batches.ask(DONE, endpoint=endpoint).cost_usd is None

"""Background responses are paid for when somebody asks how they went."""

import gzip
import json

import fakes
import pytest
from cost.budgeted import NOON, balance_of, ledger, pricing
from cost.sync_file import SyncFile
from fakes import Forward, delivered, result_of, through
from twisted.internet.defer import CancelledError, Deferred

from openai_proxy.cost.budget import Balance, Budget
from openai_proxy.cost.budget_store import MemoryBudgets
from openai_proxy.cost.keep_budget import KeepBudget
from openai_proxy.cost.later_usage import KeptCall
from openai_proxy.cost.pending_calls import MOST_CALLS, FileCalls, MemoryCalls
from openai_proxy.cost.settle_later import SettleLater
from openai_proxy.exchange.bodies import WholeBody
from openai_proxy.exchange.buffered_bytes import BufferedBytes
from openai_proxy.exchange.messages import ProxyRequest, ProxyResponse
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.policies.chains import compose

USAGE = {"input_tokens": 0, "output_tokens": 3, "total_tokens": 3}
QUEUED = {"id": "resp_1", "object": "response", "status": "queued", "model": "m", "usage": None}
DONE = {**QUEUED, "status": "completed", "usage": USAGE}


class BackgroundCalls:
    """Both stages over an upstream that answers `say`."""

    def __init__(self, budget_usd=10.0, calls=None, buffered_bytes=100_000_000):
        self.pricing = pricing()
        self.store = MemoryBudgets()
        self.calls = MemoryCalls() if calls is None else calls
        self.buffered = BufferedBytes(buffered_bytes)
        self.budgets = {} if budget_usd is None else {"alice": Budget(budget_usd, "month")}
        self.restart()

    def restart(self):
        self.ledger = ledger(self.store)
        self.later = SettleLater(self.pricing.settle, self.calls, self.ledger, self.buffered)
        self.keep = KeepBudget(self.ledger, self.budgets, self.pricing.cost_usd, self.pricing.settle)

    def ask(self, say, method="GET", endpoint="responses/{id}", target=b"/responses/resp_1", **how):
        document = how.get("document")
        exchange = fakes.exchange(timestamp=NOON, method=method, credential_id="alice", endpoint=endpoint)
        exchange.model = None if document is None else document["model"]
        body = None if document is None else json.dumps(document).encode()
        request = ProxyRequest(method.encode(), target, [], body, exchange, document=document)
        data = say if isinstance(say, bytes) else json.dumps(say).encode()
        headers = [(b"Content-Type", how.get("kind", b"application/json")), *how.get("headers", ())]
        given = ProxyResponse(how.get("status", 200), b"OK", headers, WholeBody(data))
        response = result_of(through(compose([self.later, self.keep], Forward(given)), request))
        for each in response.filters:
            assert b"".join(each.feed(bytes([byte])) for byte in data) + each.finish() == data
        reader = delivered(response.body)
        assert reader.data == data
        exchange.status = how.get("status", 200)
        exchange.end(how.get("outcome", Outcome.COMPLETE), 1.0)
        assert self.buffered.held_bytes == 0
        return exchange

    def begin(self, say=QUEUED, **how):
        document = {"model": "m", "input": "x", "background": True, "max_output_tokens": 5}
        return self.ask(say, "POST", "responses", b"/responses", document=document, **how)

    @property
    def balance(self):
        return balance_of(self.ledger)


def test_the_reservation_stays_until_the_usage_is_read_once():
    """3.125 USD were reported as 0.000006, because the first answer has no usage."""
    background = BackgroundCalls()
    begun = background.begin()
    assert (begun.usage, begun.cost_usd) == (None, None)
    background.ask({**QUEUED, "status": "in_progress"})
    assert background.balance == Balance(0.0, 5.0)
    asked = [background.ask(DONE) for _ in range(3)]
    assert background.balance == Balance(3.0, 0.0)
    assert [exchange.cost_usd for exchange in asked] == [3.0, None, None]
    assert (asked[0].model, asked[0].usage.output_tokens) == ("m", 3)


def test_a_restart_forgets_nothing():
    """The money is set aside in the store, not in the process."""
    background = BackgroundCalls()
    background.begin()
    background.restart()
    assert background.balance == Balance(0.0, 5.0)
    assert background.ask(DONE).cost_usd == 3.0
    assert background.balance == Balance(3.0, 0.0)


def stream(*events):
    return b"".join(b"event: x\ndata: " + json.dumps(event).encode() + b"\n\n" for event in events)


@pytest.mark.parametrize(
    "how",
    [
        {"say": stream({"type": "response.completed", "response": DONE}), "kind": b"text/event-stream"},
        {"say": gzip.compress(json.dumps(DONE).encode()), "headers": [(b"Content-Encoding", b"gzip")]},
        {"say": {**DONE, "status": "incomplete"}, "target": b"/responses/resp_1?include[]=x"},
        {
            "say": {**DONE, "status": "cancelled"},
            "method": "POST",
            "endpoint": "responses/{id}/cancel",
            "target": b"/responses/resp_1/cancel",
        },
    ],
)
def test_the_usage_is_read_in_every_form(how):
    """As a stream, compressed, cut off, cancelled."""
    background = BackgroundCalls()
    background.begin()
    assert background.ask(**how).cost_usd == 3.0
    assert background.balance == Balance(3.0, 0.0)


@pytest.mark.parametrize(("status", "spent_usd"), [("failed", 0.0), ("cancelled", 5.0)])
def test_an_end_without_usage_charges_what_is_known(status, spent_usd):
    """A failure costs nothing; of what was cancelled nobody says how far it came."""
    background = BackgroundCalls()
    background.begin()
    background.ask({**QUEUED, "status": status})
    assert background.balance == Balance(spent_usd, 0.0)


@pytest.mark.parametrize(
    "how",
    [
        {"say": stream({"type": "response.created", "response": QUEUED}), "kind": b"text/event-stream"},
        {"say": QUEUED, "outcome": Outcome.CLIENT_GONE},
        {"say": b'{"id": "resp_1", "instructions": "' + b"x" * 2_000_000},
    ],
)
def test_a_client_that_leaves_is_paid_for_later(how):
    """The upstream goes on: whoever asks next reads the usage."""
    background = BackgroundCalls()
    background.begin(**how)
    assert background.balance == Balance(0.0, 5.0)
    background.ask(DONE)
    assert background.balance == Balance(3.0, 0.0)


@pytest.mark.parametrize("how", [{"status": 400, "say": {"error": {}}}, {"say": b"nonsense"}])
def test_a_call_that_never_began_is_not_waited_for(how):
    """An error frees the money; an answer without a name is charged what was set aside."""
    background = BackgroundCalls()
    background.begin(**how)
    assert background.balance.held_usd == 0.0


def test_without_a_budget_the_cost_is_reported_once():
    """The lines and metrics have it, whoever asks how often."""
    background = BackgroundCalls(budget_usd=None)
    background.begin()
    assert [background.ask(DONE).cost_usd for _ in range(3)] == [3.0, None, None]


def test_answers_about_other_responses_cost_nothing():
    """Reading a stored response makes no tokens."""
    background = BackgroundCalls()
    assert (background.ask(DONE).cost_usd, background.balance) == (None, Balance())


def test_names_that_strangers_make_up_are_bounded():
    """No name is longer than 256 bytes, and the tables forget."""
    background = BackgroundCalls(budget_usd=None)
    assert background.begin({**QUEUED, "id": "resp_" + "x" * 300}).pending_call is None
    assert not background.calls._calls
    for number in range(MOST_CALLS + 100):
        background.calls.keep(f"resp_{number}", KeptCall("m", False))
    assert len(background.calls._calls) == MOST_CALLS
    assert background.ask(DONE, target=b"/responses/resp_99").cost_usd is None
    assert background.ask({**DONE, "id": "resp_100"}, target=b"/responses/resp_100").cost_usd == 3.0


def test_no_long_name_of_a_model_is_remembered():
    """Clients choose them."""
    background = BackgroundCalls(budget_usd=None)
    document = {"model": "m" * 1000, "background": True}
    background.ask(QUEUED, "POST", "responses", b"/responses", document=document)
    assert background.calls._calls == {"resp_1": KeptCall(None, False)}


@pytest.fixture
def file(tmp_path):
    """A state file that does at once what it is asked for."""
    opened = SyncFile(tmp_path / "state.sqlite3")
    yield opened
    opened.close()


@pytest.mark.parametrize("budget_usd", [None, 10.0])
def test_a_restart_loses_no_usage(file, budget_usd):
    """The names of calls are in the state file: another run, or another worker, counts each once."""
    first = BackgroundCalls(budget_usd, FileCalls(file, lambda: NOON))
    first.begin()
    second = BackgroundCalls(budget_usd, FileCalls(file, lambda: NOON))
    second.store = first.store
    second.restart()
    assert second.ask(DONE).cost_usd == 3.0
    assert [background.ask(DONE).cost_usd for background in (first, second)] == [None, None]


def test_two_processes_that_see_the_end_at_once_count_it_once(file):
    """Both have found the call; one of them forgets it first, and only that one counts."""
    first, second = (BackgroundCalls(None, FileCalls(file, lambda: NOON)) for _ in range(2))
    first.begin()
    answers = []
    found = second.calls.find

    def find_then_lose(name):
        call = found(name)
        answers.append(first.ask(DONE))  # between the other's look and its answer
        return call

    second.calls.find = find_then_lose
    answers.append(second.ask(DONE))
    assert [exchange.cost_usd for exchange in answers] == [3.0, None]


def test_a_client_that_leaves_while_its_answer_is_counted_loses_no_usage(file):
    """The row was gone and nobody had counted it."""
    calls = FileCalls(file, lambda: NOON)
    calls.keep("resp_1", KeptCall("m", False))
    run, held = file.run, Deferred()
    file.run = lambda work: held.addCallback(lambda _: run(work))
    taking = calls.take("resp_1")
    taking.addErrback(lambda failure: failure.trap(CancelledError))
    taking.cancel()
    file.run = run
    held.callback(None)
    assert calls.find("resp_1").result == KeptCall("m", False)
    assert calls.take("resp_1").result is True
    assert calls.take("resp_1").result is False


def test_a_restart_keeps_the_name_that_the_price_goes_by(file):
    """An alias has a price although its model has none."""
    first = BackgroundCalls(None, FileCalls(file, lambda: NOON))
    first.begin({**QUEUED, "model": "behind"})
    second = BackgroundCalls(None, FileCalls(file, lambda: NOON))
    exchange = second.ask({**DONE, "model": "behind"})
    assert (exchange.model, exchange.cost_usd) == ("m", 3.0)


def test_a_file_that_fails_costs_no_usage_while_the_process_runs(file):
    """What could not be written is remembered here."""
    background = BackgroundCalls(None, FileCalls(file, lambda: NOON))
    file.failing = True
    background.begin()
    file.failing = False
    assert [background.ask(DONE).cost_usd for _ in range(2)] == [3.0, None]


def test_the_file_keeps_a_bounded_number_of_calls(file, monkeypatch):
    """The oldest go."""
    monkeypatch.setattr("openai_proxy.cost.pending_calls.MOST_CALLS", 3)
    times = iter(range(10))
    calls = FileCalls(file, lambda: next(times))
    for number in range(5):
        calls.keep(f"resp_{number}", KeptCall(None, False))
    found = [calls.find(f"resp_{number}").result for number in range(5)]
    assert found == [None, None, *[KeptCall(None, False)] * 3]


def test_answers_are_read_as_far_as_there_is_room():
    """What is held of them counts with all other bodies; one that was not read is read the next time."""
    background = BackgroundCalls(buffered_bytes=1000)
    background.begin()
    long = {**DONE, "output": "x" * 2000}
    assert background.ask(long).cost_usd is None
    assert background.balance == Balance(0.0, 5.0)
    background.buffered.limit_bytes = 10_000
    assert background.ask(long).cost_usd == 3.0
    assert background.balance == Balance(3.0, 0.0)

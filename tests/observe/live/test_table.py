"""The table of what runs and what has ended."""

from fakes import exchange
from twisted.internet.task import Clock

from openai_proxy.exchange.outcome import Outcome
from openai_proxy.exchange.usage import Usage
from openai_proxy.observe.live.observer import LiveObserver
from openai_proxy.observe.live.rows import Wanted, state
from openai_proxy.observe.live.table import LiveTable


class Request:
    def __init__(self):
        self.errors = []

    def cancel(self, error):
        self.errors.append(error)


class LiveEdge:
    """A table, and the edge that runs exchanges."""

    def __init__(self, history=3, **kept):
        self.clock = Clock()
        self.running = {}
        self.table = LiveTable(lambda: self.running, lambda: self.observer.flush(), self.clock.seconds)
        self.table.keep_at_most(history, **kept)
        self.observer = LiveObserver(self.table, *([kept["line"], 100] if "line" in kept else []))

    def begin(self, **fields):
        made = exchange(endpoint="chat/completions", **fields)
        made.started = self.clock.seconds()
        self.running[made] = Request()
        return made

    def end(self, made, outcome=Outcome.COMPLETE):
        del self.running[made]
        made.end(outcome, self.clock.seconds())
        self.observer({"exchange": made})

    def ids(self, **wanted):
        return [row["id"] for row in self.table.rows(Wanted(**wanted))]


def test_rows_say_what_runs_and_what_has_ended():
    """The latest first; what has ended keeps how long it took."""
    edge = LiveEdge()
    first = edge.begin(key="alice", model="m", tags=(("team", "blue"),))
    edge.clock.advance(1)
    second = edge.begin()
    edge.clock.advance(1)
    edge.end(first)
    edge.clock.advance(1)
    rows = edge.table.rows(Wanted())
    assert [(row["id"], row["state"], row["age_s"], row["outcome"]) for row in rows] == [
        (second.id, "waiting", 2.0, None),
        (first.id, "ended", 2.0, "complete"),
    ]
    assert edge.table.in_flight == 1
    assert rows[1]["tags"] == {"team": "blue"}


def test_only_the_last_are_kept_and_nothing_heavy_of_them():
    """Bodies and headers go once the other observers have seen them."""
    edge = LiveEdge(history=2)
    made = [edge.begin(request_body=b"x", request_headers=[(b"a", b"b")]) for _ in range(4)]
    for each in made:
        edge.end(each)
    assert edge.ids() == [made[3].id, made[2].id]
    assert made[3].request_body is made[3].request_headers is made[3].capture is None


def test_filters():
    """By state, key, model and endpoint; the limit counts what is found."""
    edge = LiveEdge()
    alice, bob = edge.begin(key="alice", model="m"), edge.begin(key="bob", model="m")
    edge.end(bob)
    assert edge.ids(state="running") == [alice.id]
    assert edge.ids(state="ended") == [bob.id]
    assert edge.ids(key="bob") == [bob.id]
    assert edge.ids(model="m", limit=1) == [alice.id]
    assert edge.ids(model="other") == edge.ids(endpoint="embeddings") == []


def test_states():
    """From the limiter's queue to the end."""
    made = exchange()
    made.is_queued = True
    assert state(made) == "queued"
    made.is_queued = False
    assert state(made) == "waiting"
    made.first_byte_at, made.status = 1.0, 200
    assert state(made) == "streaming"
    made.status = 101
    assert state(made) == "tunnel"
    made.end(Outcome.COMPLETE, 2.0)
    assert state(made) == "ended"


def test_tokens_are_the_events_so_far_then_the_usage():
    """Estimated while it runs."""
    edge = LiveEdge()
    made = edge.begin()
    made.output_events = lambda: 7
    [row] = edge.table.rows(Wanted())
    assert (row["output_tokens"], row["estimated"]) == (7, True)
    made.usage = Usage(3, 9)
    edge.end(made)
    [row] = edge.table.rows(Wanted())
    assert (row["output_tokens"], row["estimated"], row["input_tokens"]) == (9, False, 3)


def test_cancel_reaches_what_runs_alone():
    """An id that has ended, or that was never used, runs nowhere."""
    edge = LiveEdge()
    running, ended = edge.begin(), edge.begin()
    edge.end(ended)
    assert not edge.table.cancel(ended.id)
    assert not edge.table.cancel("proxy-0")
    assert edge.table.cancel(running.id)
    assert edge.table.cancel(running.id)
    assert [error.code for error in edge.running[running].errors] == ["cancelled_by_operator"] * 2


def test_changes_are_told_once():
    """What began, went on and ended since the last time, also in between two looks."""
    edge = LiveEdge(history=2)
    old = edge.begin()
    edge.table.forget_reported()
    assert [row["id"] for row in edge.table.changes(progress=True).started] == [old.id]
    assert not edge.table.changes(progress=True)
    old.response_bytes = 5
    assert [row["bytes_out"] for row in edge.table.changes(progress=True).progress] == [5]
    old.response_bytes = 6
    assert not edge.table.changes(progress=False)
    quick = edge.begin()
    edge.end(quick)
    edge.end(old)
    changes = edge.table.changes(progress=True)
    assert [(row["id"], row["state"], row["status"]) for row in changes.started] == [
        (quick.id, "waiting", None)
    ]
    assert [row["id"] for row in changes.ended] == [quick.id, old.id]
    assert changes.in_flight == 0


def test_whatever_was_told_to_run_is_told_to_have_ended():
    """Also if more ended meanwhile than are kept: whoever keeps the rows must drop it."""
    edge = LiveEdge(history=1)
    first, second = edge.begin(), edge.begin()
    edge.table.changes(progress=False)
    edge.end(first)
    edge.end(second)
    changes = edge.table.changes(progress=False)
    assert [(row["id"], row["outcome"]) for row in changes.ended] == [
        (first.id, "complete"),
        (second.id, "complete"),
    ]


def test_whole_exchanges_are_kept_up_to_their_bytes():
    """The oldest makes room; one that is too large is not kept."""
    lines = {}
    edge = LiveEdge(history=10, capture_bytes=100, line=lambda each: lines[each])

    def end(size):
        made = edge.begin(capture=object())
        text = '{"request": {"body": "%s"}, "response": null}' % ("x" * size)
        lines[made] = text.encode()
        edge.end(made)
        return made.id

    first, second = end(10), end(0)
    assert edge.table.one(first)["request"] == {"body": "x" * 10}
    third, fourth = end(20), end(200)
    assert "request" not in edge.table.one(first)
    assert "request" not in edge.table.one(fourth)
    assert edge.table.one(third)["request"] == {"body": "x" * 20}
    assert edge.table.one("proxy-0") is None
    assert second

"""The table of all workers, as the supervisor keeps it."""

import pytest
from fakes import result_of, results_of
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from openai_proxy.observe.live.figures import Figures
from openai_proxy.observe.live.rows import Wanted
from openai_proxy.observe.live.table import Changes
from openai_proxy.workers import messages
from openai_proxy.workers.combined_live import CombinedLive
from openai_proxy.workers.link import LinkLost


def row(id, state="waiting", age_s=1.0, **fields):
    made = {
        "id": id,
        "state": state,
        "age_s": age_s,
        "outcome": None,
        "key": None,
        "model": None,
        "endpoint": "",
    }
    return {**made, **fields}


class Worker:
    """A worker whose answers are given, by the name of the question; keeps the messages that it gets."""

    def __init__(self, number):
        self.number = number
        self.link = self
        self.messages = []
        self.answers = {}

    def send(self, name, value=None):
        self.messages.append((name, value))

    def request(self, name, value=None):
        answer = self.answers[name]
        return answer if isinstance(answer, Deferred) else succeed(answer)


class Supervisor:
    """A supervisor of two workers, and its table."""

    def __init__(self, history=3):
        self.clock = Clock()
        self.workers = [Worker(1), Worker(2)]
        self.whole = CombinedLive(self.clock, lambda: self.workers, Figures, lambda: history, lambda: 0.0)

    def listed(self, **wanted):
        return result_of(self.whole.listing(Wanted(**wanted)))


@pytest.fixture
def supervisor():
    return Supervisor()


def test_what_all_run_is_listed_the_youngest_first(supervisor):
    """And what has ended in any of them, the latest first, as many as are kept."""
    first, second = supervisor.workers
    first.answers[messages.LIVE_RUNNING] = [row("a", age_s=3.0)], 1
    second.answers[messages.LIVE_RUNNING] = [row("b", age_s=1.0)], 7
    for id in "wxyz":
        supervisor.whole.changed(first, Changes(ended=[row(id, "ended")]))
    listing = supervisor.listed()
    assert [each["id"] for each in listing.rows] == ["b", "a", "z", "y", "x"]
    assert listing.in_flight == 8
    assert [each["id"] for each in supervisor.listed(limit=1).rows] == ["b"]
    assert [each["id"] for each in supervisor.listed(state="ended").rows] == ["z", "y", "x"]


def test_a_worker_that_does_not_answer_holds_nobody_up(supervisor):
    """The others' rows come without its own."""
    first, second = supervisor.workers
    first.answers[messages.LIVE_RUNNING] = [row("a")], 1
    second.answers[messages.LIVE_RUNNING] = Deferred()
    found = results_of(supervisor.whole.listing(Wanted()))
    supervisor.clock.advance(2)
    assert [each["id"] for each in found[0].rows] == ["a"]


def test_what_a_dead_worker_ran_has_ended_as_lost(supervisor):
    """Readers receive it."""
    first, second = supervisor.workers
    supervisor.whole.watch(second, True)
    supervisor.whole.changed(first, Changes(started=[row("a"), row("b")]))
    supervisor.whole.changed(first, Changes(ended=[row("b", "ended", outcome="complete")]))
    second.messages.clear()
    supervisor.whole.lost(first)
    [(name, changes)] = second.messages
    assert name == messages.LIVE_NEWS
    assert [(each["id"], each["state"], each["outcome"]) for each in changes.ended] == [
        ("a", "ended", "worker_lost")
    ]
    supervisor.workers.remove(first)
    second.answers[messages.LIVE_RUNNING] = [], 0
    assert [(each["id"], each["outcome"]) for each in supervisor.listed().rows] == [
        ("a", "worker_lost"),
        ("b", "complete"),
    ]


def test_a_cancel_goes_to_the_worker_whose_number_the_id_carries(supervisor):
    """None has it, or has it no longer: it does not run."""
    first, second = supervisor.workers
    second.answers[messages.LIVE_STOP] = True
    first.answers[messages.LIVE_STOP] = fail(LinkLost())
    found = []
    for id in ("proxy-0020123456789abc", "proxy-0010123456789abc", "proxy-0990123456789abc", "x"):
        supervisor.whole.cancel(id).addCallback(found.append)
    assert found == [True, False, False, False]


def test_workers_tell_more_while_somebody_reads(supervisor):
    """All of them, also one that starts meanwhile; until the last reader has left or died."""
    first, second = supervisor.workers
    supervisor.whole.watch(first, True)
    assert first.messages == second.messages == [(messages.LIVE_WATCHED, True)]
    third = Worker(3)
    supervisor.whole.is_ready(third)
    assert third.messages == [(messages.LIVE_WATCHED, True)]
    supervisor.whole.lost(first)
    assert second.messages[-1] == (messages.LIVE_WATCHED, False)


def test_stats_come_each_second_to_those_who_read(supervisor):
    """And to nobody else."""
    first, second = supervisor.workers
    supervisor.whole.start()
    supervisor.whole.watch(first, True)
    supervisor.clock.pump([1.0] * 3)
    assert [name for name, _ in first.messages].count(messages.LIVE_STATS) == 3
    assert messages.LIVE_STATS not in [name for name, _ in second.messages]
    supervisor.whole.stop()
    assert supervisor.clock.getDelayedCalls() == []

"""The end of serving, by the clock."""

import pytest
from attrs import define
from logged import log_lines
from twisted.internet.task import Clock

from openai_proxy.daemon.draining import ABORT_AFTER_DRAIN_S, Drain


@define(eq=False)
class Channel:
    busy: bool = True


class Site:
    def __init__(self):
        self.channels = set()
        self.done = []

    def drain(self):
        self.done.append("drain")

    def abort(self):
        self.done.append("abort")


@pytest.fixture
def site():
    return Site()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def drain(site, clock):
    return Drain(clock, clock.seconds, site, lambda: site.done.append("abort upstream"))


@pytest.fixture
def logged():
    with log_lines() as lines:
        yield lines


def run(clock, seconds):
    clock.pump([0.05] * round(seconds / 0.05))


def test_nothing_to_wait_for_ends_at_once(drain, site, clock):
    """An idle daemon stops within a few turns."""
    over = drain.begin(30.0)
    assert drain.begun
    run(clock, 0.1)
    assert over.called
    assert site.done == ["drain", "abort", "abort upstream"]


def test_what_runs_is_waited_for_and_cut_off_in_the_end(drain, site, clock, logged):
    """Until the time is over, not longer; the log said only that it waits, and then `client_gone`."""
    site.channels.add(Channel())
    site.channels.add(Channel(busy=False))
    over = drain.begin(5.0)
    run(clock, 4.9)
    assert (over.called, site.done) == (False, ["drain"])
    run(clock, 0.3)
    assert (over.called, site.done[1]) == (True, "abort")
    assert logged == ["draining: 1 requests still run", "1 requests still run and are cut off"]


def test_last_bytes_get_a_little_longer(drain, site, clock):
    """A client that takes its last bytes is not reset the moment the time is over."""
    site.channels.add(Channel(busy=False))
    over = drain.begin(0.0)
    run(clock, ABORT_AFTER_DRAIN_S - 0.1)
    assert not over.called
    run(clock, 0.3)
    assert over.called


@pytest.mark.parametrize("early", [True, False])
def test_hurry_cuts_off_at_once(drain, site, clock, early):
    """The second signal, also if it comes before the reactor began to stop."""
    site.channels.add(Channel())
    if early:
        drain.hurry()
    over = drain.begin(30.0)
    if not early:
        run(clock, 1.0)
        assert not over.called
        drain.hurry()
    run(clock, 0.1)
    assert over.called


def test_an_answer_that_another_worker_reads_is_waited_for(site, clock):
    """Its client is there, and this process has none; until the time is over, not longer."""
    readers = [1]
    drain = Drain(
        clock, clock.seconds, site, lambda: site.done.append("abort upstream"), lambda: len(readers)
    )
    over = drain.begin(5.0)
    run(clock, 2.0)
    assert (over.called, site.done) == (False, ["drain"])
    readers.clear()
    run(clock, 0.2)
    assert (over.called, site.done) == (True, ["drain", "abort", "abort upstream"])
    late = Drain(clock, clock.seconds, site, list, lambda: 1).begin(5.0)
    run(clock, 5.3)
    assert late.called

"""Calls of one worker whose answers another shares."""

import os
import resource

import pytest
from fakes import results_of
from policies.rejoin.rejoining import FIRST, RETRY, Client, Rejoining, end_of
from twisted.internet.defer import CancelledError, Deferred, fail
from workers.links import lose, pair
from workers.two_workers import TwoWorkers

from openai_proxy.workers.messages import CALL_FIND
from openai_proxy.workers.shared_calls import SupervisedCalls


class Daemon(TwoWorkers):
    """Each worker has a stage that lets calls go on."""

    def make(self, calls):
        return Rejoining(others=calls)

    def begin(self):
        """Return a client that has left its call at the first worker, after a part of the answer, and its upstream."""
        first = Client(self.workers[0], FIRST)
        body = self.workers[0].answer()
        body.feed(b"one ")
        assert first.leave()
        return first, body

    def retry(self):
        """Return its retry at the second worker, which reads."""
        retry = Client(self.workers[1], RETRY)
        self.reactor.until(lambda: retry.reader is not None)
        return retry


@pytest.fixture
def daemon():
    daemon = Daemon()
    yield daemon
    daemon.close()


def test_a_retry_reads_from_the_other_worker_as_it_comes(daemon):
    """One call, paid by the first exchange; nothing stays open between the two."""
    first, body = daemon.begin()
    retry = daemon.retry()
    daemon.turn_until(lambda: retry.reader.data == b"one ")
    assert daemon.calls[0].readers == 1
    body.feed(b"two")
    daemon.turn_until(lambda: retry.reader.data == b"one two")
    body.end()
    daemon.turn_until(lambda: retry.outcome)
    assert (first.outcome, retry.outcome, retry.exchange.cost_usd) == ("finished_alone", "rejoined", 0.0)
    assert [len(each.calls) for each in daemon.workers] == [1, 0]
    daemon.turn_until(lambda: not daemon.reactor.open)
    assert [each.readers for each in daemon.calls] == [0, 0]


def test_a_retry_waits_for_the_head_at_the_other_worker(daemon):
    """And reads an answer that has ended and waits."""
    assert Client(daemon.workers[0], FIRST).leave()
    retry = Client(daemon.workers[1], RETRY)
    daemon.turn_until(lambda: daemon.calls[0].readers)
    end_of(daemon.workers[0], b"whole")
    daemon.turn_until(lambda: retry.outcome)
    again = daemon.retry()
    daemon.turn_until(lambda: again.outcome)
    assert [(each.reader.data, each.outcome) for each in (retry, again)] == [(b"whole", "rejoined")] * 2


def test_what_a_worker_tells_is_known_in_the_turn_in_which_another_asks(daemon):
    """Its word may still wait in the supervisor's sockets."""
    _, there = daemon.links[0]
    there.transport.held = True
    daemon.begin()
    retry = Client(daemon.workers[1], RETRY)
    there.transport.held = False
    there.transport.deliver()
    daemon.turn_until(lambda: retry.reader is not None)
    assert daemon.workers[1].calls == []


@pytest.mark.parametrize("after_its_head", [True, False])
def test_a_retry_that_leaves_lets_the_call_wait_anew(daemon, after_its_head):
    """60 s, as if both were at one worker; nothing stays open."""
    first = Client(daemon.workers[0], FIRST)
    body = daemon.workers[0].answer() if after_its_head else None
    assert first.leave()
    daemon.workers[0].clock.advance(59.0)
    retry = Client(daemon.workers[1], RETRY)
    daemon.turn_until(lambda: retry.reader if after_its_head else daemon.calls[0].readers)
    daemon.workers[0].clock.advance(59.0)
    assert not first.stopped
    assert not retry.leave()
    daemon.turn_until(lambda: not daemon.reactor.open)
    assert (retry.outcome, daemon.workers[1].calls) == ("client_gone", [])
    daemon.workers[0].clock.advance(59.0)
    assert not first.stopped
    daemon.workers[0].clock.advance(2.0)
    assert first.stopped
    assert body is None or body.discards == 1


def test_a_call_that_fails_is_made_anew_at_the_other_worker(daemon):
    """It sees for itself what is wrong, and may leave that call too."""
    assert Client(daemon.workers[0], FIRST).leave()
    retry = Client(daemon.workers[1], RETRY)
    daemon.turn_until(lambda: daemon.calls[0].readers)
    daemon.workers[0].answer(status=500)
    daemon.turn_until(lambda: daemon.workers[1].calls)
    assert retry.leave()
    end_of(daemon.workers[1], b"whole")
    assert (retry.outcome, retry.exchange.cached) == ("finished_alone", False)


def test_an_upstream_that_dies_in_the_middle_cuts_both(daemon):
    """A truncated answer never looks whole."""
    _, body = daemon.begin()
    retry = daemon.retry()
    body.cut()
    daemon.turn_until(lambda: retry.outcome)
    assert (retry.reader.data, retry.ended_whole, retry.outcome) == (b"one ", False, "upstream_truncated")


def test_a_supervisor_that_dies_does_not_cut_what_is_read(daemon):
    """The two workers need it only to find each other; a later retry calls for itself."""
    _, body = daemon.begin()
    retry = daemon.retry()
    for link in daemon.links:
        lose(*link)
    body.feed(b"two")
    body.end()
    daemon.turn_until(lambda: retry.outcome)
    assert (retry.reader.data, retry.outcome) == (b"one two", "rejoined")
    Client(daemon.workers[1], RETRY)
    assert len(daemon.workers[1].calls) == 1


def test_a_call_that_is_over_when_the_other_worker_comes_for_it_is_none(daemon):
    """It ended between the supervisor's word and the connection."""
    first, _ = daemon.begin()
    retry = Client(daemon.workers[1], RETRY)
    daemon.workers[0].clock.advance(61.0)
    daemon.turn_until(lambda: daemon.workers[1].calls)
    assert (first.stopped, retry.response) == (True, None)
    assert not daemon.reactor.open


def test_a_worker_that_has_gone_has_no_calls(daemon):
    """A connection for it ends, and the retry calls for itself."""
    daemon.begin()
    retry = Client(daemon.workers[1], RETRY)
    lose(*daemon.links[0])
    daemon.turn_until(lambda: daemon.workers[1].calls)
    assert retry.response is None
    assert daemon.processes[0] not in daemon.server._workers.values()


@pytest.mark.parametrize("free", range(8))
def test_a_process_without_descriptors_fails_no_request(daemon, free):
    """The retry reads, or calls for itself; so does the next one, and nothing stays open."""
    first, body = daemon.begin()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + free, hard))
    try:
        retry = Client(daemon.workers[1], RETRY)
        daemon.turn_until(lambda: retry.reader is not None or daemon.workers[1].calls)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    body.feed(b"two")
    body.end()
    if daemon.workers[1].calls:
        end_of(daemon.workers[1], b"one two")
    daemon.turn_until(lambda: retry.outcome)
    assert (retry.reader.data, first.outcome) == (b"one two", "finished_alone")
    daemon.turn_until(lambda: not daemon.reactor.open)
    assert daemon.calls[0].readers == 0


def test_a_retry_that_gives_up_is_not_told_that_there_is_no_call():
    """It took that for the word to make one of its own, for a client that had left."""
    waiting = Deferred()
    worker, _ = pair(on_request={CALL_FIND: lambda key: waiting})
    finding = SupervisedCalls(worker, None).find(b"key", None)
    found = results_of(finding)
    finding.cancel()
    assert isinstance(found[0], CancelledError)
    waiting.callback(None)  # nobody hears it


@pytest.mark.parametrize("end", ["lost", "refused"])
def test_who_cannot_be_asked_has_no_call(end):
    """The supervisor died."""
    worker, supervisor = pair(
        on_request={CALL_FIND: lambda key: fail(OSError("gone")) if end == "refused" else Deferred()}
    )
    found = results_of(SupervisedCalls(worker, None).find(b"key", None))
    if end == "lost":
        lose(worker, supervisor)
    assert found == [None]

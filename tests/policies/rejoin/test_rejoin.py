"""Calls that go on when their client has left, and retries that join them."""

import pytest
from policies.rejoin.rejoining import FIRST, RETRY, Client, Rejoining, end_of
from twisted.internet.defer import Deferred, succeed

from openai_proxy.exchange.buffered_bytes import BufferedBytes
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.policies.cache.other_calls import LocalCalls
from openai_proxy.policies.rejoin import rejoin as module


def test_a_retry_gets_what_came_and_what_comes():
    """One upstream call: the first exchange pays, the second costs nothing."""
    rejoining = Rejoining()
    first = Client(rejoining, FIRST)
    body = rejoining.answer()
    body.feed(b"one ")
    assert first.leave()
    retry = Client(rejoining, RETRY)
    assert retry.reader.data == b"one "
    body.feed(b"two")
    body.end()
    assert (retry.reader.data, len(rejoining.calls)) == (b"one two", 1)
    assert (first.outcome, retry.outcome) == ("finished_alone", "rejoined")
    assert (first.exchange.cached, retry.exchange.cached, retry.exchange.cost_usd) == (False, True, 0.0)


def test_a_retry_waits_for_the_head():
    """The client left before anything came, as at a time-out of an answer that is no stream."""
    rejoining = Rejoining()
    first = Client(rejoining, FIRST)
    assert first.leave()
    retry = Client(rejoining, RETRY)
    assert (retry.response, len(rejoining.calls)) == (None, 1)
    end_of(rejoining, b"whole")
    assert (retry.reader.data, retry.outcome, first.outcome) == (b"whole", "rejoined", "finished_alone")


def test_an_answer_that_ended_waits_for_a_retry():
    """For 60 s after its client left."""
    for wait_s, joined in ((59.0, True), (61.0, False)):
        rejoining = Rejoining()
        first = Client(rejoining, FIRST)
        assert first.leave()
        end_of(rejoining, b"whole")
        assert first.outcome == "finished_alone"
        rejoining.clock.advance(wait_s)
        retry = Client(rejoining, RETRY)
        assert (retry.outcome == "rejoined", len(rejoining.calls)) == (joined, 1 if joined else 2)
        rejoining.clock.advance(61.0)
        assert not rejoining.clock.getDelayedCalls()


def test_who_announces_no_retry_asks_anew():
    """The same request twice is two requests; so is that of another key, with another body or another Idempotency-Key."""
    rejoining = Rejoining()
    assert Client(rejoining, FIRST).leave()
    for client in (
        Client(rejoining),
        Client(rejoining, RETRY, key="bob"),
        Client(rejoining, RETRY, body=b'{"model":"n"}'),
        Client(rejoining, RETRY, (b"Idempotency-Key", b"other")),
    ):
        assert client.response is None
    assert len(rejoining.calls) == 5


def test_the_same_idempotency_key_joins():
    """Without a word of a retry."""
    rejoining = Rejoining()
    key = (b"Idempotency-Key", b"k")
    assert Client(rejoining, key).leave()
    retry = Client(rejoining, key)
    end_of(rejoining, b"whole")
    assert (retry.outcome, len(rejoining.calls)) == ("rejoined", 1)


def test_a_call_that_takes_too_long_is_cut():
    """60 s after its client left; one that somebody reads goes on, and has 60 s anew when he leaves."""
    rejoining = Rejoining()
    first = Client(rejoining, FIRST)
    body = rejoining.answer()
    assert first.leave()
    rejoining.clock.advance(59.0)
    retry = Client(rejoining, RETRY)
    rejoining.clock.advance(59.0)
    assert not first.stopped
    assert not retry.leave()
    rejoining.clock.advance(59.0)
    assert not first.stopped
    rejoining.clock.advance(2.0)
    assert (first.stopped, first.outcome, body.discards) == (True, "client_gone", 1)
    assert Client(rejoining, RETRY).response is None
    assert len(rejoining.calls) == 2


def test_a_large_answer_cannot_be_joined():
    """It passes, and a retry asks anew."""
    rejoining = Rejoining(limit_bytes=10)
    first = Client(rejoining, FIRST)
    body = rejoining.answer()
    body.feed(b"x" * 11)
    Client(rejoining, RETRY)
    assert len(rejoining.calls) == 2
    body.end()
    assert (first.outcome, len(first.reader.data)) == ("complete", 11)


def test_an_error_is_not_joined():
    """It is the answer of the first; the retry makes a call of its own, and pays for it."""
    rejoining = Rejoining()
    first = Client(rejoining, FIRST)
    assert first.leave()
    retry = Client(rejoining, RETRY)
    rejoining.answer(status=500)
    assert (first.response.status, len(rejoining.calls)) == (500, 2)
    end_of(rejoining, b"whole")
    assert (retry.reader.data, retry.outcome, retry.exchange.cached) == (b"whole", "complete", False)


def test_what_is_held_is_bounded(monkeypatch):
    """The oldest answers go."""
    monkeypatch.setattr(module, "HELD_BYTES", 10)
    rejoining = Rejoining()
    for body in (b"[1]", b"[2]", b"[3]"):
        assert Client(rejoining, FIRST, body=body).leave()
        end_of(rejoining, b"four")
    assert len(rejoining.calls) == 3
    assert Client(rejoining, RETRY, body=b"[1]").response is None
    assert Client(rejoining, RETRY, body=b"[3]").outcome == "rejoined"


def test_an_answer_that_was_had_is_gone():
    """A client that has it whole keeps nothing waiting."""
    rejoining = Rejoining()
    client = Client(rejoining, FIRST)
    end_of(rejoining, b"whole")
    assert client.outcome == "complete"
    assert not rejoining.clock.getDelayedCalls()
    Client(rejoining, RETRY)
    assert len(rejoining.calls) == 2


class Others:
    """Two processes, joined by hand."""

    def __init__(self):
        self.offered, self.stages, self.found = [], [], None

    def offer(self, key):
        if key not in self.offered:
            self.offered.append(key)

    def withdraw(self, key):
        self.offered.remove(key)

    def find(self, key, asking):
        if self.found is None or key not in self.found.offered:
            return succeed(None)
        return Deferred.fromCoroutine(self.found.stages[0].read(key))

    def join(self, stage):
        self.stages.append(stage)


def two():
    """Return two worlds: the retry of the first one's request comes to the second."""
    first, second = Rejoining(others=Others()), Rejoining(others=Others())
    second.others.found = first.others
    return first, second


def test_a_retry_that_reaches_another_process_gets_what_came_and_what_comes():
    """The other process makes no call, and nothing is paid there."""
    first, second = two()
    left = Client(first, FIRST)
    assert left.leave()
    retry = Client(second, RETRY)
    assert (retry.response, second.calls) == (None, [])
    body = first.answer()
    body.feed(b"one ")
    assert retry.reader.data == b"one "
    body.feed(b"two")
    body.end()
    assert (retry.reader.data, retry.outcome, retry.exchange.cost_usd) == (b"one two", "rejoined", 0.0)
    assert left.outcome == "finished_alone"
    assert Client(second, RETRY).outcome == "rejoined"
    first.clock.advance(61.0)
    assert first.others.offered == []
    assert Client(second, RETRY).response is None
    assert len(second.calls) == 1


def test_a_retry_at_another_process_joins_before_its_first_try_is_known_to_be_gone():
    """Its network was lost, and nobody ended the connection: the retry made, and paid, a second call."""
    first, second = two()
    client = Client(first, FIRST)
    retry = Client(second, RETRY)
    end_of(first, b"whole")
    assert (retry.reader.data, retry.outcome, second.calls) == (b"whole", "rejoined", [])
    assert (client.outcome, first.others.offered) == ("complete", [])


def test_a_call_that_fails_is_made_anew_by_the_other_process():
    """It sees for itself what is wrong."""
    first, second = two()
    assert Client(first, FIRST).leave()
    retry = Client(second, RETRY)
    first.answer(status=500)
    assert len(second.calls) == 1
    end_of(second, b"whole")
    assert (retry.reader.data, retry.outcome, retry.exchange.cached) == (b"whole", "complete", False)
    assert first.others.offered == []


def test_a_body_that_breaks_off_is_cut_for_another_process_too():
    """The retry has had a part of it: what is missing cannot be asked for."""
    first, second = two()
    assert Client(first, FIRST).leave()
    retry = Client(second, RETRY)
    body = first.answer()
    body.feed(b"half")
    body.cut()
    assert (retry.reader.data, retry.ended_whole, second.calls) == (b"half", False, [])


@pytest.mark.parametrize("outside_first", [True, False])
def test_a_retry_here_makes_the_call_that_one_elsewhere_cannot_make(outside_first):
    """A failed call was made again on behalf of the retry elsewhere, which has no call here: the one here had a 500."""
    first, second = two()
    left = Client(first, FIRST)
    assert left.leave()
    retries = [
        Client(rejoining, RETRY) for rejoining in ((second, first) if outside_first else (first, second))
    ]
    elsewhere, here = retries if outside_first else reversed(retries)
    first.answer(status=500)
    assert (left.response.status, len(first.calls), len(second.calls)) == (500, 2, 1)
    end_of(first, b"here")
    end_of(second, b"elsewhere")
    assert (here.error, here.reader.data, here.outcome) == (None, b"here", "complete")
    assert (elsewhere.error, elsewhere.reader.data, elsewhere.outcome) == (None, b"elsewhere", "complete")


def test_who_reads_elsewhere_does_not_pay_for_a_call_that_is_stopped():
    """The operator stopped it: the cost went to a record that nobody sees."""
    first, second = two()
    left = Client(first, FIRST)
    body = first.answer()
    body.feed(b"one ")
    assert left.leave()
    retry = Client(second, RETRY)
    left.exchange.end(Outcome.CANCELLED, 1.0)
    assert (left.exchange.heir, left.exchange.cost_usd) == (None, None)
    body.feed(b"two")
    body.end()
    assert (retry.reader.data, retry.exchange.cost_usd) == (b"one two", 0.0)


def test_a_retry_that_makes_the_call_after_a_failure_may_leave_too():
    """Its own call was cancelled when its client left, and the next retry paid for a third one."""
    rejoining = Rejoining()
    left = Client(rejoining, FIRST)
    assert left.leave()
    retry = Client(rejoining, RETRY)
    rejoining.answer(status=500).end()
    assert (left.response.status, len(rejoining.calls)) == (500, 2)
    assert retry.leave()
    again = Client(rejoining, RETRY)
    end_of(rejoining, b"whole")
    assert (again.reader.data, again.outcome, retry.outcome) == (b"whole", "rejoined", "finished_alone")
    assert (len(rejoining.calls), retry.exchange.cached, again.exchange.cost_usd) == (2, False, 0.0)


def test_a_retry_that_makes_the_call_and_leaves_has_its_time():
    """60 s after it left, not after the first client did; then the call is cut."""
    rejoining = Rejoining()
    left = Client(rejoining, FIRST)
    assert left.leave()
    retry = Client(rejoining, RETRY)
    rejoining.clock.advance(59.0)
    rejoining.answer(status=500)
    rejoining.clock.advance(59.0)
    body = rejoining.answer()
    assert retry.leave()
    left.response.body.discard()
    left.exchange.end(Outcome.CLIENT_GONE, 1.0)
    rejoining.clock.advance(59.0)
    assert not retry.stopped
    rejoining.clock.advance(2.0)
    assert (retry.stopped, retry.outcome, body.discards) == (True, "client_gone", 1)
    assert not rejoining.clock.getDelayedCalls()


def test_a_retry_after_a_reload_gets_what_came_and_what_comes():
    """The stage of the old configuration lives as long as a call of it can be joined."""
    calls = LocalCalls()
    old = Rejoining(others=calls)
    assert Client(old, FIRST).leave()
    body = old.answer()
    body.feed(b"one ")
    new = Rejoining(others=calls)
    retry = Client(new, RETRY)
    assert retry.reader.data == b"one "
    body.feed(b"two")
    body.end()
    assert (retry.reader.data, retry.outcome, new.calls) == (b"one two", "rejoined", [])


def reloaded_half_way():
    """Return the stage before a reload, the client of its call that has left, that call's body, the stage after it."""
    calls = LocalCalls()
    old = Rejoining(others=calls)
    first = Client(old, FIRST)
    body = old.answer()
    body.feed(b"one ")
    assert first.leave()
    return old, first, body, Rejoining(others=calls)


def test_a_retry_after_a_reload_sets_its_own_pace():
    """It has what it reads; the call waits as long for its next retry when it leaves."""
    old, first, body, new = reloaded_half_way()
    retry = Client(new, RETRY)
    retry.reader.transport.pauseProducing()
    body.feed(b"two ")
    assert retry.reader.data == b"one "
    old.clock.advance(61.0)
    assert not first.stopped
    assert not retry.leave()
    old.clock.advance(59.0)
    assert not first.stopped
    old.clock.advance(2.0)
    assert (first.stopped, body.discards) == (True, 1)


def test_a_retry_that_gives_up_while_it_waits_for_another_process_asks_nobody():
    """It made a call of its own when its client had left: paid, for nobody, and in no log."""
    calls = LocalCalls()
    old = Rejoining(others=calls)
    assert Client(old, FIRST).leave()
    new = Rejoining(others=calls)
    retry = Client(new, RETRY)
    assert not retry.leave()
    assert (new.calls, retry.outcome) == ([], "client_gone")
    end_of(old, b"whole")
    again = Client(new, RETRY)
    assert (again.reader.data, again.outcome, new.calls) == (b"whole", "rejoined", [])


def test_a_retry_that_gives_up_while_the_answer_comes_stops_reading_it():
    """The call itself goes on for the next retry."""
    _, _, body, new = reloaded_half_way()
    assert not Client(new, RETRY).leave()
    assert (body.discards, new.calls) == (0, [])
    body.feed(b"two")
    body.end()
    assert Client(new, RETRY).reader.data == b"one two"


def test_a_retry_that_gives_up_as_it_has_everything_joins_again():
    """Its client's time ran out while the last bytes were on their way: the next retry made a second call."""
    rejoining = Rejoining()
    assert Client(rejoining, FIRST).leave()
    end_of(rejoining, b"whole")
    assert Client(rejoining, RETRY).outcome == "rejoined"
    assert Client(rejoining, RETRY).outcome == "rejoined"
    rejoining.clock.advance(61.0)
    assert Client(rejoining, RETRY).response is None
    assert len(rejoining.calls) == 2


def test_an_answer_that_was_had_makes_room_first(monkeypatch):
    """Whoever has not come yet needs its answer more."""
    monkeypatch.setattr(module, "HELD_BYTES", 10)
    rejoining = Rejoining()
    for body in (b"[1]", b"[2]"):
        assert Client(rejoining, FIRST, body=body).leave()
        end_of(rejoining, b"four")
    assert Client(rejoining, RETRY, body=b"[2]").outcome == "rejoined"
    assert Client(rejoining, FIRST, body=b"[3]").leave()
    end_of(rejoining, b"four")
    assert Client(rejoining, RETRY, body=b"[1]").outcome == "rejoined"
    assert Client(rejoining, RETRY, body=b"[2]").response is None


def test_recordings_count_among_what_is_held_of_bodies():
    """While they run and while they wait; nothing is left when nobody can join any more."""
    buffered = BufferedBytes(20)
    rejoining = Rejoining(buffered=buffered)
    first = Client(rejoining, FIRST)
    body = rejoining.answer()
    body.feed(b"four")
    assert buffered.held_bytes == 4
    assert first.leave()
    body.feed(b"more")
    body.end()
    assert buffered.held_bytes == 8
    assert Client(rejoining, RETRY).outcome == "rejoined"
    assert buffered.held_bytes == 8
    rejoining.clock.advance(61.0)
    assert buffered.held_bytes == 0
    done = Client(rejoining, FIRST, body=b"[1]")
    end_of(rejoining, b"four")
    assert (done.outcome, buffered.held_bytes) == ("complete", 0)


def test_what_waits_gives_way_to_what_runs():
    """Recordings take half of the memory of bodies; the answers that wait go first, then a recording ends."""
    buffered = BufferedBytes(20)
    rejoining = Rejoining(buffered=buffered)
    assert Client(rejoining, FIRST, body=b"[1]").leave()
    end_of(rejoining, b"x" * 8)
    second = Client(rejoining, FIRST, body=b"[2]")
    body = rejoining.answer()
    body.feed(b"y" * 8)
    assert buffered.held_bytes == 8
    assert Client(rejoining, RETRY, body=b"[1]").response is None
    body.feed(b"z" * 8)
    assert buffered.held_bytes == 0
    assert Client(rejoining, RETRY, body=b"[2]").response is None
    body.end()
    assert (second.outcome, second.reader.data) == ("complete", b"y" * 8 + b"z" * 8)


def test_a_recording_that_breaks_off_frees_its_memory():
    """As one whose time is over."""
    buffered = BufferedBytes(20)
    rejoining = Rejoining(buffered=buffered)
    for broken in (True, False):
        first = Client(rejoining, FIRST)
        body = rejoining.answer()
        body.feed(b"four")
        assert first.leave()
        if broken:
            body.cut()
        rejoining.clock.advance(61.0)
        assert buffered.held_bytes == 0

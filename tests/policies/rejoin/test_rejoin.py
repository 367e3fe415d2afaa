"""Calls that go on when their client has left, and retries that join them."""

import pytest
from policies.rejoin.rejoin_world import FIRST, RETRY, Client, World, end_of
from twisted.internet.defer import Deferred, succeed

from openai_proxy.exchange.buffered_bytes import BufferedBytes
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.policies.cache.elsewhere import LocalCalls
from openai_proxy.policies.rejoin import rejoin as module


def test_a_retry_gets_what_came_and_what_comes():
    """One upstream call: the first exchange pays, the second costs nothing."""
    world = World()
    first = Client(world, FIRST)
    body = world.answer()
    body.feed(b"one ")
    assert first.leave()
    retry = Client(world, RETRY)
    assert retry.reader.data == b"one "
    body.feed(b"two")
    body.end()
    assert (retry.reader.data, len(world.calls)) == (b"one two", 1)
    assert (first.outcome, retry.outcome) == ("finished_alone", "rejoined")
    assert (first.exchange.cached, retry.exchange.cached, retry.exchange.cost_usd) == (False, True, 0.0)


def test_a_retry_waits_for_the_head():
    """The client left before anything came, as at a time-out of an answer that is no stream."""
    world = World()
    first = Client(world, FIRST)
    assert first.leave()
    retry = Client(world, RETRY)
    assert (retry.response, len(world.calls)) == (None, 1)
    end_of(world, b"whole")
    assert (retry.reader.data, retry.outcome, first.outcome) == (b"whole", "rejoined", "finished_alone")


def test_an_answer_that_ended_waits_for_a_retry():
    """For 60 s after its client left."""
    for wait_s, joined in ((59.0, True), (61.0, False)):
        world = World()
        first = Client(world, FIRST)
        assert first.leave()
        end_of(world, b"whole")
        assert first.outcome == "finished_alone"
        world.clock.advance(wait_s)
        retry = Client(world, RETRY)
        assert (retry.outcome == "rejoined", len(world.calls)) == (joined, 1 if joined else 2)
        world.clock.advance(61.0)
        assert not world.clock.getDelayedCalls()


def test_who_announces_no_retry_asks_anew():
    """The same request twice is two requests; so is that of another key, with another body or another Idempotency-Key."""
    world = World()
    assert Client(world, FIRST).leave()
    for client in (
        Client(world),
        Client(world, RETRY, key="bob"),
        Client(world, RETRY, body=b'{"model":"n"}'),
        Client(world, RETRY, (b"Idempotency-Key", b"other")),
    ):
        assert client.response is None
    assert len(world.calls) == 5


def test_the_same_idempotency_key_joins():
    """Without a word of a retry."""
    world = World()
    key = (b"Idempotency-Key", b"k")
    assert Client(world, key).leave()
    retry = Client(world, key)
    end_of(world, b"whole")
    assert (retry.outcome, len(world.calls)) == ("rejoined", 1)


def test_a_call_that_takes_too_long_is_cut():
    """60 s after its client left; one that somebody reads goes on, and has 60 s anew when he leaves."""
    world = World()
    first = Client(world, FIRST)
    body = world.answer()
    assert first.leave()
    world.clock.advance(59.0)
    retry = Client(world, RETRY)
    world.clock.advance(59.0)
    assert not first.stopped
    assert not retry.leave()
    world.clock.advance(59.0)
    assert not first.stopped
    world.clock.advance(2.0)
    assert (first.stopped, first.outcome, body.discards) == (True, "client_gone", 1)
    assert Client(world, RETRY).response is None
    assert len(world.calls) == 2


def test_a_large_answer_cannot_be_joined():
    """It passes, and a retry asks anew."""
    world = World(limit_bytes=10)
    first = Client(world, FIRST)
    body = world.answer()
    body.feed(b"x" * 11)
    Client(world, RETRY)
    assert len(world.calls) == 2
    body.end()
    assert (first.outcome, len(first.reader.data)) == ("complete", 11)


def test_an_error_is_not_joined():
    """It is the answer of the first; the retry makes a call of its own, and pays for it."""
    world = World()
    first = Client(world, FIRST)
    assert first.leave()
    retry = Client(world, RETRY)
    world.answer(status=500)
    assert (first.response.status, len(world.calls)) == (500, 2)
    end_of(world, b"whole")
    assert (retry.reader.data, retry.outcome, retry.exchange.cached) == (b"whole", "complete", False)


def test_what_is_held_is_bounded(monkeypatch):
    """The oldest answers go."""
    monkeypatch.setattr(module, "HELD_BYTES", 10)
    world = World()
    for body in (b"[1]", b"[2]", b"[3]"):
        assert Client(world, FIRST, body=body).leave()
        end_of(world, b"four")
    assert len(world.calls) == 3
    assert Client(world, RETRY, body=b"[1]").response is None
    assert Client(world, RETRY, body=b"[3]").outcome == "rejoined"


def test_an_answer_that_was_had_is_gone():
    """A client that has it whole keeps nothing waiting."""
    world = World()
    client = Client(world, FIRST)
    end_of(world, b"whole")
    assert client.outcome == "complete"
    assert not world.clock.getDelayedCalls()
    Client(world, RETRY)
    assert len(world.calls) == 2


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
    first, second = World(others=Others()), World(others=Others())
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
    retries = [Client(world, RETRY) for world in ((second, first) if outside_first else (first, second))]
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
    world = World()
    left = Client(world, FIRST)
    assert left.leave()
    retry = Client(world, RETRY)
    world.answer(status=500).end()
    assert (left.response.status, len(world.calls)) == (500, 2)
    assert retry.leave()
    again = Client(world, RETRY)
    end_of(world, b"whole")
    assert (again.reader.data, again.outcome, retry.outcome) == (b"whole", "rejoined", "finished_alone")
    assert (len(world.calls), retry.exchange.cached, again.exchange.cost_usd) == (2, False, 0.0)


def test_a_retry_that_makes_the_call_and_leaves_has_its_time():
    """60 s after it left, not after the first client did; then the call is cut."""
    world = World()
    left = Client(world, FIRST)
    assert left.leave()
    retry = Client(world, RETRY)
    world.clock.advance(59.0)
    world.answer(status=500)
    world.clock.advance(59.0)
    body = world.answer()
    assert retry.leave()
    left.response.body.discard()
    left.exchange.end(Outcome.CLIENT_GONE, 1.0)
    world.clock.advance(59.0)
    assert not retry.stopped
    world.clock.advance(2.0)
    assert (retry.stopped, retry.outcome, body.discards) == (True, "client_gone", 1)
    assert not world.clock.getDelayedCalls()


def test_a_retry_after_a_reload_gets_what_came_and_what_comes():
    """The stage of the old configuration lives as long as a call of it can be joined."""
    calls = LocalCalls()
    old = World(others=calls)
    assert Client(old, FIRST).leave()
    body = old.answer()
    body.feed(b"one ")
    new = World(others=calls)
    retry = Client(new, RETRY)
    assert retry.reader.data == b"one "
    body.feed(b"two")
    body.end()
    assert (retry.reader.data, retry.outcome, new.calls) == (b"one two", "rejoined", [])


def reloaded_half_way():
    """Return the stage before a reload, the client of its call that has left, that call's body, the stage after it."""
    calls = LocalCalls()
    old = World(others=calls)
    first = Client(old, FIRST)
    body = old.answer()
    body.feed(b"one ")
    assert first.leave()
    return old, first, body, World(others=calls)


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
    old = World(others=calls)
    assert Client(old, FIRST).leave()
    new = World(others=calls)
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
    world = World()
    assert Client(world, FIRST).leave()
    end_of(world, b"whole")
    assert Client(world, RETRY).outcome == "rejoined"
    assert Client(world, RETRY).outcome == "rejoined"
    world.clock.advance(61.0)
    assert Client(world, RETRY).response is None
    assert len(world.calls) == 2


def test_an_answer_that_was_had_makes_room_first(monkeypatch):
    """Whoever has not come yet needs its answer more."""
    monkeypatch.setattr(module, "HELD_BYTES", 10)
    world = World()
    for body in (b"[1]", b"[2]"):
        assert Client(world, FIRST, body=body).leave()
        end_of(world, b"four")
    assert Client(world, RETRY, body=b"[2]").outcome == "rejoined"
    assert Client(world, FIRST, body=b"[3]").leave()
    end_of(world, b"four")
    assert Client(world, RETRY, body=b"[1]").outcome == "rejoined"
    assert Client(world, RETRY, body=b"[2]").response is None


def test_recordings_count_among_what_is_held_of_bodies():
    """While they run and while they wait; nothing is left when nobody can join any more."""
    buffered = BufferedBytes(20)
    world = World(buffered=buffered)
    first = Client(world, FIRST)
    body = world.answer()
    body.feed(b"four")
    assert buffered.held_bytes == 4
    assert first.leave()
    body.feed(b"more")
    body.end()
    assert buffered.held_bytes == 8
    assert Client(world, RETRY).outcome == "rejoined"
    assert buffered.held_bytes == 8
    world.clock.advance(61.0)
    assert buffered.held_bytes == 0
    done = Client(world, FIRST, body=b"[1]")
    end_of(world, b"four")
    assert (done.outcome, buffered.held_bytes) == ("complete", 0)


def test_what_waits_gives_way_to_what_runs():
    """Recordings take half of the memory of bodies; the answers that wait go first, then a recording ends."""
    buffered = BufferedBytes(20)
    world = World(buffered=buffered)
    assert Client(world, FIRST, body=b"[1]").leave()
    end_of(world, b"x" * 8)
    second = Client(world, FIRST, body=b"[2]")
    body = world.answer()
    body.feed(b"y" * 8)
    assert buffered.held_bytes == 8
    assert Client(world, RETRY, body=b"[1]").response is None
    body.feed(b"z" * 8)
    assert buffered.held_bytes == 0
    assert Client(world, RETRY, body=b"[2]").response is None
    body.end()
    assert (second.outcome, second.reader.data) == ("complete", b"y" * 8 + b"z" * 8)


def test_a_recording_that_breaks_off_frees_its_memory():
    """As one whose time is over."""
    buffered = BufferedBytes(20)
    world = World(buffered=buffered)
    for broken in (True, False):
        first = Client(world, FIRST)
        body = world.answer()
        body.feed(b"four")
        assert first.leave()
        if broken:
            body.cut()
        world.clock.advance(61.0)
        assert buffered.held_bytes == 0

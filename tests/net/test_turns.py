"""Costly work leaves others their turn."""

import pytest
from fakes import exchange, results_of, through
from policies.bodies.test_read_body import Recorder
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.net.turns import PAUSES, Turns
from openai_proxy.policies.bodies.read_body import ReadBody
from openai_proxy.wire.request_json import is_costly


class Queue:
    """Work that waits for its turn, on a clock led by hand."""

    def __init__(self):
        self.clock = Clock()
        self.turns = Turns(self.clock, self.clock.seconds)
        self.done = []

    def ask(self, name, takes_s=1.0, error=None):
        def work():
            self.clock.rightNow += takes_s
            if error is not None:
                raise error
            self.done.append((name, self.clock.seconds()))

        running = through(self.turns.run, work)
        return running, results_of(running)


def test_there_is_a_pause_after_costly_work_that_is_longer_than_it():
    """Whoever sends such bodies in a loop stops nobody else for long."""
    queue = Queue()
    for name in "abc":
        queue.ask(name)
    for _ in range(40):
        queue.clock.advance(0.25)
    assert queue.done == [("a", 1.0), ("b", 1.0 + PAUSES + 1.0), ("c", 2 * (1.0 + PAUSES) + 1.0)]


def test_short_work_goes_one_after_the_other():
    """Nobody waits who costs nothing."""
    queue = Queue()
    for name in "abc":
        queue.ask(name, takes_s=0.001)
    assert [name for name, _ in queue.done] == ["a", "b", "c"]


def test_a_client_that_leaves_loses_its_place_and_hurts_nobody():
    """While it waits for its turn, or in its pause."""
    queue = Queue()
    queue.ask("a")
    (pausing, pausing_ends), (waiting, waiting_ends) = queue.ask("b"), queue.ask("c")
    waiting.cancel()
    pausing.cancel()
    assert [type(ends[0]) for ends in (pausing_ends, waiting_ends)] == [CancelledError] * 2
    queue.ask("d")
    queue.clock.advance(PAUSES)
    assert [name for name, _ in queue.done] == ["a", "d"]
    assert queue.clock.getDelayedCalls() == []


def test_what_work_raises_is_its_own():
    """A body that is refused costs its time too."""
    queue = Queue()
    _, ends = queue.ask("a", error=ValueError())
    assert type(ends[0]) is ValueError
    queue.ask("b")
    assert queue.done == []
    queue.clock.advance(PAUSES)
    assert [name for name, _ in queue.done] == ["b"]


@pytest.mark.parametrize(
    ("body", "costly"),
    [
        (b"[]," * 60_000, True),
        (b'"",' * 1_400_000, True),
        (b"1," * 1_100_000, True),
        (b" " * 5_000_000, True),
        (b"[]," * 20_000, False),
        (b'{"messages":["' + b"x" * 4_000_000 + b'"]}', False),
        (b'{"role":"user","content":"hello"},' * 10_000, False),
    ],
)
def test_only_very_long_bodies_and_those_of_very_many_values_wait(body, costly):
    """Long prompts, images and long conversations do not; twenty of 30 MB in one turn stopped everybody for 6 s."""
    assert is_costly(body) is costly


def test_costly_bodies_are_read_in_turn():
    """Through the stage: the second one waits, an ordinary one does not."""
    clock = Clock()
    asked = []

    class Slow(Turns):
        def run(self, work):
            asked.append(work)
            return Deferred()

    stage = ReadBody(10_000_000, turns=Slow(clock, clock.seconds))
    forward = Recorder()
    for body in (b'{"a":[' + b"[]," * 60_000 + b"1]}", b'{"a":1}'):
        request = ProxyRequest(b"POST", b"/chat/completions", [], body, exchange(), buffered=True)
        through(stage, request, forward)
    assert len(asked) == 1
    assert [request.body for request in forward.requests] == [b'{"a":1}']

"""The wall clock may jump: timers do not notice."""

from __future__ import annotations

import time

import pytest
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock, LoopingCall

from openai_proxy.net.steady_clock import use_steady_clock


@pytest.fixture
def reactor():
    reactor = SelectReactor()
    yield reactor
    for call in reactor.getDelayedCalls():
        call.cancel()
    reactor.removeAll()


@pytest.mark.parametrize("jump_s", [-3600.0, 3600.0, -1e9])
def test_a_jump_of_the_wall_clock_neither_stops_a_timer_nor_fires_it(reactor, monkeypatch, jump_s):
    """Set back an hour, nothing that was due fired for an hour."""
    assert use_steady_clock(reactor)
    steady, wall = [time.monotonic()], time.time()
    monkeypatch.setattr(reactor, "seconds", lambda: steady[0])
    monkeypatch.setattr(time, "time", lambda: wall + jump_s)
    fired = []
    reactor.callLater(10, fired.append, "once")
    sweep = LoopingCall(fired.append, "sweep")
    sweep.clock = reactor
    sweep.start(4, now=False)
    for _ in range(3):
        steady[0] += 3
        reactor.runUntilCurrent()
    assert fired == ["sweep", "sweep"]
    steady[0] += 2
    reactor.runUntilCurrent()
    sweep.stop()
    assert "once" in fired


def test_the_reactors_clock_is_the_monotonic_one(reactor):
    """Its seconds are no longer those since the epoch."""
    assert use_steady_clock(reactor)
    assert abs(reactor.seconds() - time.monotonic()) < 1
    assert reactor.callLater(5, int).getTime() == pytest.approx(time.monotonic() + 5, abs=1)


def test_what_is_scheduled_already_keeps_its_time(reactor):
    """Better an old clock than a timer that never fires."""
    reactor.callLater(5, int)
    assert not use_steady_clock(reactor)
    assert abs(reactor.seconds() - time.time()) < 1


def test_a_clock_of_its_own_stays():
    """A test's, or that of asyncio's reactor."""
    clock = Clock()
    assert use_steady_clock(clock)
    assert clock.seconds() == 0

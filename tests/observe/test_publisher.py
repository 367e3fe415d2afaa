"""Exchanges reach every observer, whatever another one does."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger

from openai_proxy.exchange.outcome import Outcome
from openai_proxy.exchange.record import Exchange
from openai_proxy.observe.publisher import STOP_WITHIN_S, ExchangePublisher


def ended():
    exchange = Exchange(started=1.0, timestamp=1700000000.0, method="GET", path="/v1/models")
    exchange.end(Outcome.COMPLETE, 2.0)
    return exchange


class CountingObserver:
    def __init__(self, **attributes):
        self.seen, self.calls = [], []
        for name, value in attributes.items():
            setattr(self, name, value)

    def __call__(self, event):
        self.seen.append(event["exchange"])

    def flush(self):
        self.calls.append("flush")

    def start(self):
        self.calls.append("start")

    def stop(self):
        self.calls.append("stop")

    def reopen(self):
        self.calls.append("reopen")


def broken(event):
    raise RuntimeError("broken")


def test_batch_is_handed_over_in_the_next_turn():
    """Batched observers see nothing on the response path, and everything soon after it."""
    clock, observer = Clock(), CountingObserver()
    publisher = ExchangePublisher([observer], clock)
    exchanges = [ended(), ended()]
    for each in exchanges:
        publisher.ending(each)
    assert observer.seen == []
    clock.advance(0)
    assert observer.seen == exchanges
    assert observer.calls == ["flush"]
    assert clock.getDelayedCalls() == []


def test_synchronous_observer_sees_it_at_once():
    """A synchronous observer has the exchange when `ending` returns."""
    clock, observer = Clock(), CountingObserver(synchronous=True)
    publisher = ExchangePublisher([observer], clock)
    exchange = ended()
    publisher.ending(exchange)
    assert observer.seen == [exchange]
    assert clock.getDelayedCalls() == []


def test_synchronous_observers_see_a_batch_before_it_is_sent():
    """In a row, each flushed once; the next batch gets a call of its own."""
    calls = []

    def before_sending(call):
        calls.append(call)
        return True

    broken, observer = CountingObserver(synchronous=True), CountingObserver(synchronous=True)
    broken.seen = None
    log = Logger(namespace="test", observer=lambda event: None)
    publisher = ExchangePublisher([broken, observer], Clock(), log, before_sending=before_sending)
    exchanges = [ended(), ended(), ended()]
    for each in exchanges[:2]:
        publisher.ending(each)
    assert (observer.seen, len(calls)) == ([], 1)
    calls[0]()
    assert (observer.seen, observer.calls) == (exchanges[:2], ["flush"])
    publisher.ending(exchanges[2])
    assert len(calls) == 2
    publisher.stop()
    assert (observer.seen, observer.calls) == (exchanges, ["flush", "flush", "stop"])
    calls[1]()
    assert observer.seen == exchanges


def test_broken_observer_is_contained_and_reported_once_a_minute():
    """An observer that raises hurts nobody and does not fill the log."""
    events, now = [], [100.0]
    log = Logger(namespace="test", observer=events.append)
    clock, observer = Clock(), CountingObserver()
    publisher = ExchangePublisher([broken, observer], clock, log, clock=lambda: now[0])
    for _ in range(3):
        publisher.ending(ended())
    publisher.flush()
    assert (len(observer.seen), len(events)) == (3, 1)
    now[0] += 61
    publisher.ending(ended())
    publisher.flush()
    assert [event["failures"] for event in events] == [1, 4]


def test_observers_see_exchanges_in_their_order_and_each_in_the_observers_order():
    """Lines of two observers on the same output stand together, whatever one between them does."""
    seen = []
    exchanges = [ended(), ended()]

    def first(event):
        seen.append(("first", event["exchange"]))

    def last(event):
        seen.append(("last", event["exchange"]))

    log = Logger(namespace="test", observer=lambda event: None)
    publisher = ExchangePublisher([first, broken, last], Clock(), log)
    for each in exchanges:
        publisher.ending(each)
    publisher.flush()
    assert seen == [(name, each) for each in exchanges for name in ("first", "last")]


def test_each_observer_flushes_once_after_the_last_exchange_of_a_batch():
    """Whatever it or another one raises: what was collected is written, and nobody else is disturbed."""
    calls = []

    class Named:
        def __init__(self, name, breaks=()):
            self._name, self._breaks = name, breaks

        def __call__(self, event):
            calls.append((self._name, "event"))
            if "event" in self._breaks:
                raise RuntimeError("broken")

        def flush(self):
            calls.append((self._name, "flush"))
            if "flush" in self._breaks:
                raise RuntimeError("broken")

    events = []
    log = Logger(namespace="test", observer=events.append)
    observers = [Named("a", {"event"}), Named("b", {"flush"}), broken, Named("c")]
    publisher = ExchangePublisher(observers, Clock(), log, clock=lambda: 100.0)
    for _ in range(3):
        publisher.ending(ended())
    publisher.flush()
    for name in ("a", "b", "c"):
        assert [what for who, what in calls if who == name] == ["event", "event", "event", "flush"]
    assert len(events) == 3  # one report for each that raised


def test_broken_synchronous_observer_is_contained():
    """The response goes out although the observer before it raised."""
    observer = CountingObserver(synchronous=True)
    breaking = CountingObserver(synchronous=True)
    breaking.seen = None
    log = Logger(namespace="test", observer=lambda event: None)
    exchange = ended()
    ExchangePublisher([breaking, observer], Clock(), log).ending(exchange)
    assert observer.seen == [exchange]


def test_event_is_a_log_event():
    """What an observer gets is an event of twisted.logger."""
    seen = []
    publisher = ExchangePublisher([seen.append], Clock())
    publisher.ending(ended())
    publisher.flush()
    assert seen[0]["log_namespace"] == "openai_proxy.exchange"
    assert seen[0]["log_time"] == 1700000000.0


def test_stop_flushes_and_waits():
    """The last exchanges are written before the daemon ends."""
    waiting = Deferred()
    observer = CountingObserver()
    slow = CountingObserver()
    slow.stop = lambda: waiting
    publisher = ExchangePublisher([observer, slow], Clock())
    publisher.start()
    publisher.ending(ended())
    fired = []
    publisher.stop().addCallback(fired.append)
    assert (len(observer.seen), fired) == (1, [])
    waiting.callback(None)
    assert len(fired) == 1
    assert observer.calls == ["start", "flush", "stop"]


def test_an_observer_that_never_stops_is_not_waited_for_long():
    """Somebody's plugin cannot keep the daemon from ending."""
    clock, events, fired = Clock(), [], []
    observer = CountingObserver(stop=lambda: Deferred())
    publisher = ExchangePublisher([observer], clock, Logger("test", observer=events.append))
    publisher.stop().addCallback(fired.append)
    assert fired == []
    clock.advance(STOP_WITHIN_S)
    assert len(fired) == 1
    assert [event["log_format"] for event in events] == [
        "observer {observer} has not stopped within {seconds:g} s"
    ]


def test_failed_start_stops_what_was_started():
    """A start that fails leaves no file open."""

    def fail():
        raise OSError("no")

    first, second = CountingObserver(), CountingObserver()
    second.start = fail
    with pytest.raises(OSError):
        ExchangePublisher([first, second], Clock()).start()
    assert first.calls == ["start", "stop"]


def test_reopen_reaches_all_though_one_fails():
    """One log file that cannot be reopened does not affect the others."""

    def fail():
        raise OSError("no")

    events = []
    first, second = CountingObserver(), CountingObserver()
    first.reopen = fail
    publisher = ExchangePublisher([first, second], Clock(), Logger("test", observer=events.append))
    publisher.reopen()
    assert second.calls == ["reopen"]
    assert len(events) == 1


def test_needs_are_collected():
    """The service learns what the observers together need."""
    plain = ExchangePublisher([CountingObserver()], Clock())
    assert (plain.capture_limit_bytes, plain.needs_usage, plain.capture()) == (None, False, None)
    keeping = CountingObserver(needs_bodies=True, body_limit_bytes=10, needs_usage=True)
    publisher = ExchangePublisher([CountingObserver(), keeping], Clock())
    assert (publisher.capture_limit_bytes, publisher.needs_usage) == (10, True)
    assert publisher.capture().response.limit_bytes == 10

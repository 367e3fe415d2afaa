"""The queue and the thread before the collector."""

import threading

import pytest
from twisted.internet.task import Clock
from twisted.logger import Logger, formatEvent

from openai_proxy.observe.otel.exporting import BATCH, QUEUE_LIMIT, Exporting
from openai_proxy.observe.otel.observation import Observation, Observing
from openai_proxy.observe.otel.observer import STOP_WITHIN_S, OtelObserver

PATIENCE_S = 60


def observation(number=0):
    return Observation(f"chat {number}", 0, 1, {}, None, None)


class Collecting:
    """A pipeline that keeps what it gets and fails as a test says."""

    def __init__(self):
        self.names = []
        self.failures = []
        self.metrics = 0
        self.closed = False
        self.may_send = threading.Event()
        self.may_send.set()
        self.sending = threading.Event()

    def send(self, batch):
        self.sending.set()
        self.may_send.wait(PATIENCE_S)
        self.names += [each.name for each in batch]
        return self.failures.pop(0) if self.failures else None

    def send_metrics(self):
        self.metrics += 1
        return

    def close(self):
        self.closed = True


@pytest.fixture
def collecting():
    made = Collecting()
    yield made
    made.may_send.set()


@pytest.fixture
def log():
    return []


@pytest.fixture
def exporting(collecting, log):
    made = Exporting(lambda: collecting, "http://there", 1000.0, Logger(observer=log.append))
    yield made
    collecting.may_send.set()
    end(made)


def end(exporting):
    exporting.begin_stop()
    if exporting._thread is not None:
        exporting._thread.join(PATIENCE_S)
    assert not exporting.running


def test_everything_is_sent_in_order(exporting, collecting):
    """Also what was put before the start and what waits at the end; metrics once more at the end."""
    for number in range(BATCH * 2 + 1):
        exporting.put(observation(number))
    exporting.start()
    end(exporting)
    assert collecting.names == [f"chat {number}" for number in range(BATCH * 2 + 1)]
    assert (collecting.metrics, collecting.closed, exporting.lost) == (1, True, 0)


def test_a_full_queue_drops_and_counts(exporting):
    """Memory is bounded while the collector is slow."""
    for number in range(QUEUE_LIMIT + 3):
        exporting.put(observation(number))
    assert (exporting.unsent, exporting.lost) == (QUEUE_LIMIT, 3)


def test_an_outage_is_told_once(exporting, collecting, log):
    """One line when it begins, one when it is over, with what was lost."""
    collecting.failures = ["ConnectionError", "status 503"]
    for number in range(BATCH * 3):
        exporting.put(observation(number))
    exporting.start()
    end(exporting)
    assert [formatEvent(event) for event in log] == [
        "traces and metrics cannot be sent to http://there: ConnectionError; they are lost, requests go on",
        f"traces and metrics are sent to http://there again, {2 * BATCH} exchanges were lost in all",
    ]


def test_a_defect_ends_the_thread_with_a_line(collecting, log):
    """What cannot be built is reported, and nothing else happens."""

    def make():
        raise ValueError("no")

    exporting = Exporting(make, "http://there", 1000.0, Logger(observer=log.append))
    exporting.start()
    end(exporting)
    assert "exporter failed" in formatEvent(log[0])


def test_stop_does_not_wait_for_a_collector_that_hangs(exporting, collecting, log):
    """The daemon's end is late by two seconds at most."""
    clock = Clock()
    collecting.may_send.clear()
    observer = OtelObserver(Observing(dict), exporting, clock, Logger(observer=log.append))
    for number in range(BATCH + 5):
        exporting.put(observation(number))
    observer.start()
    assert collecting.sending.wait(PATIENCE_S)
    stopped = observer.stop()
    clock.pump([0.02] * round((STOP_WITHIN_S - 0.1) / 0.02))
    assert not stopped.called
    clock.pump([0.02] * 10)
    assert stopped.called
    assert formatEvent(log[0]) == f"stopping: {BATCH + 5} traces were not sent"


def test_stop_ends_with_the_thread(exporting, collecting, log):
    """If all is sent, nobody waits."""
    clock = Clock()
    observer = OtelObserver(Observing(dict), exporting, clock, Logger(observer=log.append))
    exporting.put(observation())
    observer.start()
    stopped = observer.stop()
    end(exporting)
    clock.advance(0.1)
    assert stopped.called
    assert (collecting.names, log) == (["chat 0"], [])

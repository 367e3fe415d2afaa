"""The worker processes when one ends, when the system cannot start one, and at their end."""

import errno
import os

import pytest
from twisted.internet.error import ProcessTerminated
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from workers.links import lose

from openai_proxy.daemon.draining import ABORT_AFTER_DRAIN_S
from openai_proxy.net.listening import StartError
from openai_proxy.observe.exchange_log.remote.shipper import LAST_ROUND_S
from openai_proxy.settings import load_settings
from openai_proxy.workers.pool import KILL_AFTER_S, START_S, WorkerPool


class Process:
    """A process that never says a word."""

    pid = 7

    def __init__(self, protocol):
        self.protocol = protocol
        self.signals = []

    def signalProcess(self, name):
        self.signals.append(name)

    def end(self, signal=9):
        self.protocol.processEnded(Failure(ProcessTerminated(signal=signal)))
        lose(self.protocol.link)


class Launcher:
    """Starts such processes, while the machine is able to."""

    output = None

    def __init__(self):
        self.able = True
        self.tries = 0
        self.processes = []

    def spawn(self, number, protocol, link, sockets):
        self.tries += 1
        if not self.able:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        protocol.transport = Process(protocol)
        link.makeConnection(StringTransport())
        self.processes.append(protocol.transport)
        return protocol.transport


@pytest.fixture
def launcher():
    return Launcher()


@pytest.fixture
def reactor():
    return MemoryReactorClock()


@pytest.fixture
def pool(reactor, launcher, tmp_path):
    settings = load_settings({}, {"WORKERS": "2"}, tmp_path)
    pool = WorkerPool(reactor, reactor.seconds, launcher, lambda: settings, list)
    yield pool
    for process in pool._processes.values():
        process.handover.close()


@pytest.fixture
def kept(pool):
    """A pool of two that serves."""
    pool.spawn_all()
    pool.keep()
    return pool


def test_worker_that_ends_while_all_start_is_the_starts_failure(pool, launcher):
    """Not one that is hidden by starting it again and again."""
    pool.spawn_all()
    assert not pool.all_ready()
    launcher.processes[0].end()
    with pytest.raises(StartError, match=r"^a worker ended while it started: signal 9$"):
        pool.all_ready()
    assert len(launcher.processes) == 2


def test_worker_that_was_ready_and_ends_before_the_last_one_is_ready_is_missed(pool, launcher):
    """If both came in one turn, the daemon went on without it for ever: only workers that end later are replaced."""
    pool.spawn_all()
    for process in launcher.processes:
        process.protocol.is_ready = True
    assert pool.all_ready()
    launcher.processes[0].end()
    with pytest.raises(StartError, match=r"^a worker ended while it started: signal 9$"):
        pool.all_ready()


def test_process_that_can_not_be_started_is_tried_again(kept, reactor, launcher):
    """A machine short of processes for a while gets its worker back, later and later."""
    launcher.able, launcher.tries = False, 0
    launcher.processes[0].end()
    reactor.pump([0.1] * 100)
    assert 4 <= launcher.tries <= 7
    launcher.able = True
    reactor.advance(30)
    assert len(launcher.processes) == 3


def test_end_does_not_wait_for_a_process_that_never_started(kept, reactor, launcher):
    """SIGTERM ends a daemon that lacks a worker."""
    launcher.able = False
    launcher.processes[0].end()
    reactor.advance(0)
    ended = []
    kept.end(1.0).addCallback(ended.append)
    assert ended == []
    launcher.processes[1].end()
    assert ended == [None]
    assert reactor.getDelayedCalls() == []


def test_process_that_hangs_while_it_starts_again_is_killed(kept, reactor, launcher):
    """Then another one is tried: the daemon does not stay a worker short."""
    launcher.processes[0].end()
    reactor.advance(0)
    again = launcher.processes[2]
    reactor.advance(START_S - 1)
    assert again.signals == []
    reactor.advance(1)
    assert again.signals == ["KILL"]


def test_worker_that_ends_as_slowly_as_it_may_is_not_killed():
    """After the drain it cuts off who does not read, then ships the exchange log: one after the other."""
    assert KILL_AFTER_S >= ABORT_AFTER_DRAIN_S + LAST_ROUND_S + 1.0

"""The supervisor where starting a process fails, and at its end."""

import errno
import os

import pytest
from twisted.internet.testing import MemoryReactorClock, StringTransport

from openai_proxy.draining import ABORT_AFTER_DRAIN_S
from openai_proxy.listening import StartError
from openai_proxy.observe.exchange_log.shipper import LAST_ROUND_S
from openai_proxy.settings import load_settings
from openai_proxy.workers.supervisor import KILL_AFTER_S, START_S, Supervisor


class Unable:
    """A launcher on a machine that has no process left to give."""

    output = None

    def __init__(self):
        self.tries = 0

    def spawn(self, number, protocol, link, sockets):
        self.tries += 1
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


class Process:
    """A process that never says a word."""

    pid = 7

    def __init__(self):
        self.signals = []

    def signalProcess(self, name):
        self.signals.append(name)


class Hanging(Unable):
    """A launcher of such processes."""

    def __init__(self):
        self.process = Process()

    def spawn(self, number, protocol, link, sockets):
        protocol.transport = self.process
        link.makeConnection(StringTransport())
        return self.process


@pytest.fixture
def launcher():
    return Unable()


@pytest.fixture
def reactor():
    return MemoryReactorClock()


@pytest.fixture
def supervisor(reactor, launcher, tmp_path):
    settings = load_settings({}, {"WORKERS": "2"}, tmp_path)
    return Supervisor(reactor, settings, lambda: settings, launcher)


def test_start_without_processes_is_one_line(supervisor):
    """No fork, no daemon: the start ends with what the system said."""
    with pytest.raises(StartError, match=r"^workers: can not start a process: .*temporarily unavailable"):
        supervisor.startService()


def test_process_that_can_not_be_started_is_tried_again(supervisor, reactor, launcher):
    """A machine short of processes for a while gets its worker back, later and later."""
    supervisor._restart_in(1, 0.0)
    reactor.pump([0.1] * 100)
    assert 4 <= launcher.tries <= 7


def test_end_does_not_wait_for_a_process_that_never_started(supervisor, reactor, launcher):
    """SIGTERM ends a daemon that lacks a worker."""
    supervisor._restart_in(1, 0.0)
    reactor.advance(0)
    assert launcher.tries > 0
    ended = []
    supervisor.stopService().addCallback(ended.append)
    assert ended == [None]
    assert reactor.getDelayedCalls() == []


def test_process_that_hangs_while_it_starts_again_is_killed(reactor, tmp_path):
    """Then another one is tried: the daemon does not stay a worker short."""
    settings, launcher = load_settings({}, {"WORKERS": "2"}, tmp_path), Hanging()
    supervisor = Supervisor(reactor, settings, lambda: settings, launcher)
    supervisor._restart_in(1, 0.0)
    reactor.advance(0)
    reactor.advance(START_S - 1)
    assert launcher.process.signals == []
    reactor.advance(1)
    assert launcher.process.signals == ["KILL"]


def test_worker_that_ends_as_slowly_as_it_may_is_not_killed():
    """After the drain it cuts off who does not read, then ships the exchange log: one after the other."""
    assert KILL_AFTER_S >= ABORT_AFTER_DRAIN_S + LAST_ROUND_S + 1.0

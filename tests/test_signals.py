"""Signals become calls in the reactor's thread."""

import os
import signal

import pytest

from openai_proxy.signals import ends, install, remember, twistd_log_file

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


@pytest.fixture(autouse=True)
def own_signals():
    """Give the test runner its signals back."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Reactor:
    """Keeps what it is asked to call."""

    def __init__(self):
        self.calls = []

    def callFromThread(self, function):
        self.calls.append(function)


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (signal.SIGTERM, "terminate"),
        (signal.SIGINT, "terminate"),
        (signal.SIGHUP, "reload"),
        (signal.SIGUSR1, "reopen"),
    ],
)
def test_signal_is_handed_to_the_reactor(number, name):
    """Nothing is done inside the handler itself."""
    reactor, told = Reactor(), []
    install(
        reactor,
        terminate=lambda: told.append("terminate"),
        reload=lambda: told.append("reload"),
        reopen=lambda: told.append("reopen"),
    )
    os.kill(os.getpid(), number)
    assert told == []
    for call in reactor.calls:
        call()
    assert told == [name]


def test_without_twistd_there_is_no_log_file():
    """Logging to stdout leaves nothing to reopen."""
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    assert twistd_log_file() is None


def test_signals_before_the_reactor_runs_are_remembered():
    """A start that takes a while loses none, and knows whether it should go on."""
    numbers = []
    remember(numbers)
    os.kill(os.getpid(), signal.SIGHUP)
    assert numbers == [signal.SIGHUP]
    assert not ends(numbers)
    os.kill(os.getpid(), signal.SIGTERM)
    assert numbers == [signal.SIGHUP, signal.SIGTERM]
    assert ends(numbers)

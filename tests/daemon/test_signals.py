"""Signals become calls in the reactor's thread."""

import os
import signal

import pytest
from twisted.python.logfile import LogFile

from openai_proxy.daemon.signals import ends, install, remember, reopen_log, twistd_log_file

pytestmark = pytest.mark.usefixtures("own_signals")


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
    reactor, calls = Reactor(), []
    install(
        reactor,
        terminate=lambda: calls.append("terminate"),
        reload=lambda: calls.append("reload"),
        reopen=lambda: calls.append("reopen"),
    )
    os.kill(os.getpid(), number)
    assert calls == []
    for call in reactor.calls:
        call()
    assert calls == [name]


def test_without_twistd_there_is_no_log_file():
    """Logging to stdout leaves nothing to reopen."""
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    assert twistd_log_file() is None


@pytest.fixture
def log_file(tmp_path):
    """A log file as twistd opens it for --logfile."""
    (tmp_path / "logs").mkdir()
    file = LogFile.fromFullPath(str(tmp_path / "logs" / "proxy.log"))
    yield file
    file.close()


def test_twistd_does_not_rotate_its_log_by_itself(log_file):
    """It went on to proxy.log.1, proxy.log.2, ... at each megabyte, beside what logrotate did."""

    def rotate_as_twistd_does(number, frame):
        log_file.rotate()

    signal.signal(signal.SIGUSR1, rotate_as_twistd_does)
    log_file.size = 10 * 1000 * 1000
    assert log_file.shouldRotate()
    install(Reactor(), terminate=print, reload=print, reopen=print)
    assert not log_file.shouldRotate()


def test_moved_log_is_opened_anew(log_file, tmp_path):
    """What is logged afterwards is in the new file."""
    (tmp_path / "logs" / "proxy.log").rename(tmp_path / "old")
    reopen_log(log_file)
    log_file.write("x")
    assert (tmp_path / "logs" / "proxy.log").read_text() == "x"


def test_log_that_can_not_be_opened_anew_goes_on(log_file, tmp_path):
    """After --uid the directory may be another's: the daemon was left without any log, and without a word."""
    (tmp_path / "logs").rename(tmp_path / "moved")
    reopen_log(log_file)
    log_file.write("x")
    assert (tmp_path / "moved" / "proxy.log").read_text() == "x"


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

"""The supervisor when no process can be started."""

import errno
import os

import pytest
from twisted.internet.testing import MemoryReactorClock

from openai_proxy.net.listening import StartError
from openai_proxy.settings import load_settings
from openai_proxy.workers.supervisor import Supervisor


class Unable:
    """A launcher on a machine that has no process left to give."""

    output = None

    def spawn(self, number, protocol, link, sockets):
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def test_start_without_processes_is_one_line(tmp_path):
    """No fork, no daemon: the start ends with what the system said."""
    settings = load_settings({}, {"WORKERS": "2"}, tmp_path)
    supervisor = Supervisor(MemoryReactorClock(), settings, lambda: settings, Unable())
    with pytest.raises(StartError, match=r"^workers: cannot start a process: .*temporarily unavailable"):
        supervisor.startService()

"""Fixtures shared by all tests."""

import os
import signal

import pytest
from hypothesis import HealthCheck, settings
from world.daemon import Daemon
from world.warm_start import WarmParent

# a busy machine may take its time: how long examples take says nothing about them
settings.register_profile(
    "default", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
# every night: other examples than last night, and ten times as many
settings.register_profile("nightly", settings.get_profile("default"), derandomize=False, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture
def own_signals():
    """Give the test runner the signals back that a test takes."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session", autouse=True)
def _warm_daemons():
    """Let daemons start as forks of one process that has imported everything: hundreds of starts are most of a run."""
    parent = WarmParent()
    before, Daemon.launch = Daemon.launch, parent.launch
    yield
    Daemon.launch = before
    parent.close()

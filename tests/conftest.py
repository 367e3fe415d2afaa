"""Fixtures shared by all tests."""

import signal

import pytest
from hypothesis import HealthCheck, settings

# a busy machine may take its time: how long examples take says nothing about them
settings.register_profile(
    "default", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("default")


@pytest.fixture
def own_signals():
    """Give the test runner the signals back that a test takes."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)

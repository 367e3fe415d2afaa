"""Fixtures shared by all tests."""

from hypothesis import HealthCheck, settings

# a busy machine may take its time: how long examples take says nothing about them
settings.register_profile(
    "default", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("default")

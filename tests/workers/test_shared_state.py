"""All workers of a machine know which upstream has which state."""

from fakes import results_of
from twisted.internet.task import Clock

from openai_proxy.workers.shared_state import StateServer


def test_what_one_worker_learnt_another_finds():
    """Also if its word comes in the very turn in which the other asks."""
    clock = Clock()
    server = StateServer(clock)
    server.keep(([1], 7, 60.0))
    assert server.find([1]) == {1: 7}
    found = results_of(server.find([1, 2]))
    server.keep(([2], 8, 60.0))
    clock.advance(0)
    assert found == [{1: 7, 2: 8}]


def test_the_memory_is_bounded():
    """By the settings."""
    server = StateServer(Clock())
    server.resize(2, 60.0)
    server.keep(([1, 2, 3], 7, 60.0))
    assert server.find([2, 3]) == {2: 7, 3: 7}

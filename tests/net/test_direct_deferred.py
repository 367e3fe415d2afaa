"""A DirectDeferred is a Deferred, with or without its one waiter."""

import pytest
from twisted.internet.defer import AlreadyCalledError, CancelledError, Deferred
from twisted.python.failure import Failure

from openai_proxy.net.direct_deferred import DirectDeferred


def test_without_a_waiter_it_is_an_ordinary_deferred():
    """Callbacks run, coroutines resume."""
    waiting = DirectDeferred()

    async def run():
        return await waiting

    results = []
    Deferred.fromCoroutine(run()).addCallback(results.append)
    waiting.callback(5)
    assert results == [5]


def test_the_waiter_resumes_the_coroutine_that_awaits_it():
    """The result is there when the waiter is called; a second one is refused."""
    waiting = DirectDeferred()

    async def run():
        return await waiting

    running = run()
    assert running.send(None) is waiting
    seen = []

    def resume(result):
        seen.append(result)
        with pytest.raises(StopIteration) as stop:
            running.send(None)
        seen.append(stop.value.value)

    waiting.waiter = resume
    waiting.callback(5)
    assert seen == [5, 5]
    with pytest.raises(AlreadyCalledError):
        waiting.callback(6)


def test_a_failure_and_a_cancellation_reach_the_waiter():
    """As a Failure, once; the canceller is asked first."""
    seen, cancelled = [], []
    waiting = DirectDeferred()
    waiting.waiter = seen.append
    waiting.errback(ValueError("no"))
    assert isinstance(seen[0], Failure)
    assert seen[0].check(ValueError)
    with pytest.raises(AlreadyCalledError):
        waiting.errback(ValueError("again"))
    waiting.cancel()
    assert len(seen) == 1
    waiting = DirectDeferred(cancelled.append)
    waiting.waiter = seen.append
    waiting.cancel()
    assert cancelled == [waiting]
    assert seen[1].check(CancelledError)

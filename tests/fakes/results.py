"""What has come of a Deferred or a coroutine that a test started."""

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure


def through(forward, *args):
    """Return a Deferred of what `forward(*args)` gives, raised at once or awaited."""

    async def run():
        return await forward(*args)

    return Deferred.fromCoroutine(run())


def results_of(running):
    """Return a list that will hold the result, or the exception."""
    results = []
    ensureDeferred(running).addCallbacks(results.append, lambda failure: results.append(failure.value))
    return results


def outcome_of(running):
    """Return the result that is there already, or the exception."""
    (outcome,) = results_of(running)
    return outcome


def result_of(running):
    """Return the result that is there already, or raise the exception."""
    results = []
    ensureDeferred(running).addBoth(results.append)
    (result,) = results
    if isinstance(result, Failure):
        result.raiseException()
    return result

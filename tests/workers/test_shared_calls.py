"""Calls that go on without their client, for a retry that reaches another worker."""

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail
from workers.links import lose, pair

from openai_proxy.workers.shared_calls import SupervisedCalls
from openai_proxy.workers.talk import CALL_FIND


def results_of(deferred):
    found = []
    deferred.addBoth(found.append)
    return found


def test_a_retry_that_gives_up_is_not_told_that_there_is_no_call():
    """It took that for the word to make one of its own, for a client that had left."""
    waiting = Deferred()
    worker, _ = pair(asked={CALL_FIND: lambda key: waiting})
    finding = SupervisedCalls(worker).find(b"key", None)
    found = results_of(finding)
    finding.cancel()
    assert found[0].check(CancelledError)
    waiting.callback(None)  # nobody hears it


@pytest.mark.parametrize("end", ["lost", "refused"])
def test_who_cannot_be_asked_has_no_call(end):
    """The worker that had it died, or the supervisor did."""
    worker, supervisor = pair(
        asked={CALL_FIND: lambda key: fail(OSError("gone")) if end == "refused" else Deferred()}
    )
    found = results_of(SupervisedCalls(worker).find(b"key", None))
    if end == "lost":
        lose(worker, supervisor)
    assert found == [None]

"""The results for requests that share one upstream call: see `flight`."""

from __future__ import annotations

from enum import Enum

from attrs import define, frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ...exchange.messages import Forward, ProxyRequest, ProxyResponse


class Role(Enum):
    """How a participant got its response."""

    LEADER = "leader"
    """By its own request."""
    FOLLOWER = "follower"
    """By another participant's request."""
    ALONE = "alone"
    """It has none yet: the response must not be shared, so it must make its own request."""


@frozen(eq=False)
class SharedResult:
    """The result for a participant; `response` is None if the role is ALONE."""

    role: Role
    response: ProxyResponse | None = None


@define(eq=False)
class Participant:
    """One client's request, and the Deferred that fires when there is a response for it."""

    request: ProxyRequest
    forward: Forward
    result: Deferred[SharedResult]

    def resolve(self, result: SharedResult | Failure) -> None:
        """Hand over the result, unless the client left while others were served."""
        if not self.result.called:
            self.result.callback(result)  # a Failure goes to the errback
        elif isinstance(result, SharedResult) and result.response is not None:
            result.response.body.discard()

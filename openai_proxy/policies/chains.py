"""Compose stages into one `forward`: a chain for each kind of request.

A chain is made when the first request of its kind comes. It leaves out stages
that would only look at such a request and pass it on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from types import FunctionType, MethodType
from typing import Any, cast

from ..exchange.bounded_memo import Learned
from ..exchange.messages import Forward, Kind, ProxyRequest, ProxyResponse, Stage

_MOST_KINDS = 256
"""The number of kinds whose chains are kept: paths come from clients."""
_Key = tuple[bytes, str, str, bool, bool]


def compose(stages: Sequence[Stage], innermost: Forward) -> Forward:
    """Wrap `innermost` into `stages`, the first being the outermost."""
    forward = innermost
    for stage in reversed(stages):
        forward = _inside(stage, forward)
    return forward


def by_kind(stages: Sequence[Stage], innermost: Forward) -> Forward:
    """Return a `forward` that sends each request through those of `stages` that its kind concerns."""

    def chain(key: _Key) -> Forward:
        kind = Kind(*key)
        return compose([stage for stage in stages if _concerns(stage, kind)], innermost)

    chains: Learned[_Key, Forward] = Learned(chain, _MOST_KINDS, size=lambda key: len(key[2]))

    def forward(request: ProxyRequest) -> Awaitable[ProxyResponse]:
        return chains[
            request.method, request.exchange.endpoint, request.endpoint, request.upgrade, request.buffered
        ](request)

    return forward


def _concerns(stage: Any, kind: Kind) -> bool:
    concerns = getattr(stage, "concerns", None)
    return concerns is None or bool(concerns(kind))


def _inside(stage: Stage, forward: Forward) -> Forward:
    """Return the stage with `forward` as the default of its last argument.

    A closure or a `functools.partial` would be one more call for each stage
    of each request.
    """
    call: Any = stage if isinstance(stage, MethodType | FunctionType) else stage.__call__
    function: Any = call.__func__ if isinstance(call, MethodType) else call
    inside = FunctionType(
        function.__code__, function.__globals__, function.__name__, (forward,), function.__closure__
    )
    return cast(Forward, MethodType(inside, call.__self__) if isinstance(call, MethodType) else inside)

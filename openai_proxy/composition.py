"""From Settings to the parts that handle exchanges: the ordered stage list.

Builds values and objects only; opens nothing. The service starts and stops
what is built here, and builds anew for a reload.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attrs import frozen

from .messages import Forward, Stage
from .settings import Settings
from .stages.inject import Inject
from .stages.pass_through import PassThrough
from .stages.read_body import ReadBody
from .upstream.agent import UpstreamAgent
from .upstream.client import UpstreamClient
from .upstream.connection import UpstreamTimeouts
from .upstream.forward import UpstreamForward, destination
from .upstream.health import Reachability
from .upstream.tls import ClientTLS
from .web.channel import DownstreamLimits

Clock = Callable[[], float]


@frozen(eq=False)
class Exchanger:
    """Everything that handles exchanges under one configuration; swapped whole."""

    settings: Settings
    forward: Forward
    agent: UpstreamAgent
    reachability: Reachability
    limits: DownstreamLimits
    mode: str


def compose(stages: Sequence[Stage], innermost: Forward) -> Forward:
    """Wrap `innermost` into `stages`, the first being the outermost."""
    forward = innermost
    for stage in reversed(stages):
        forward = partial(stage, forward=forward)
    return forward


def build_exchanger(settings: Settings, reactor: Any, clock: Clock) -> Exchanger:
    """Build the parts for `settings`; raises SettingsError for what can not be built."""
    upstream = settings.upstream
    timeouts = UpstreamTimeouts(
        connect=settings.timeout_s.connect,
        first_byte=settings.timeout_s.first_byte,
        idle=settings.timeout_s.idle,
        total=settings.timeout_s.total,
    )
    tls = ClientTLS(Path(upstream.ca_file) if upstream.ca_file else None)
    agent = UpstreamAgent(reactor, timeouts, tls, clock)
    default = destination("default", str(upstream.base_url))
    innermost = UpstreamForward(UpstreamClient(agent), default, {}, upstream.via.encode("ascii"), clock)
    return Exchanger(
        settings=settings,
        forward=compose(_stages(settings), innermost),
        agent=agent,
        reachability=Reachability(str(upstream.base_url), agent.probe, clock),
        limits=_limits(settings),
        mode=mode_of(settings),
    )


def mode_of(settings: Settings) -> str:
    """Name who may call: `tenants`, `inject` or `pass-through`."""
    if settings.client_api_keys or settings.api_key_mapping or settings.keys:
        return "tenants"
    return "inject" if settings.upstream.api_key is not None else "pass-through"


def _stages(settings: Settings) -> list[Stage]:
    """Return the onion, outermost first, with the reason for each place."""
    return [
        # First: nobody unknown makes us read, count or call anything.
        _authenticate(settings),
        # Before everything that looks at the body; behind it a request is known to be valid.
        ReadBody(settings.limits.json_body_bytes),
    ]


def _authenticate(settings: Settings) -> Stage:
    api_key = settings.upstream.api_key
    if api_key is None:
        return PassThrough()
    return Inject(
        api_key.get_secret_value().encode("latin-1"), settings.upstream.auth_header.encode("ascii").lower()
    )


def _limits(settings: Settings) -> DownstreamLimits:
    limits = settings.limits
    return DownstreamLimits(
        target_bytes=limits.target_bytes,
        header_bytes=limits.header_bytes,
        header_count=limits.header_count,
        body_bytes=limits.body_bytes,
        header_timeout_s=limits.header_timeout_s,
        body_min_bytes_per_s=limits.body_min_bytes_per_s,
        keep_alive_s=limits.keep_alive_s,
        write_stall_s=limits.write_stall_s,
    )

"""What the files of this folder know of each other: values, and what one asks of another.

Connection, request, site, API resource, tunnel, conversation, browsers' rules
and relay meet here. None of them imports another that imports it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from attrs import define, frozen
from twisted.python.failure import Failure

from ..exchange.bodies import WholeBody
from ..exchange.buffered_bytes import BufferedBytes, Lease
from ..exchange.errors import ProxyError
from ..exchange.messages import Forward, ProxyRequest, ResponseBody
from ..exchange.outcome import Outcome
from ..exchange.record import Exchange, HeaderPairs
from ..wire.headers import RequestHead
from ..wire.targets import ApiPath
from ..wire.web_origins import WebOrigins
from .body import IncomingBody
from .client_clocks import ClientClocks


@frozen
class DownstreamLimits:
    """What a client may do; sizes in bytes, times in seconds."""

    target_bytes: int = 16 * 1024
    header_bytes: int = 64 * 1024
    header_count: int = 200
    body_bytes: int | None = None
    header_timeout_s: float = 15.0
    body_min_bytes_per_s: float = 50.0
    keep_alive_s: float = 120.0
    write_stall_s: float = 60.0
    keepalive_s: float | None = None
    """After how long a silence a stream gets a comment; None for never."""
    keepalive_before_head: bool = False
    """Whether it gets one before its head has come, too."""


@define(eq=False, repr=False)
class IncomingRequest:
    """A request as parsed: its head, and its body as it comes."""

    method: bytes
    target: bytes
    http11: bool
    pairs: HeaderPairs
    head: RequestHead
    body: IncomingBody | WholeBody


@frozen(eq=False)
class TurnRules:
    """How the turns of WebSockets are judged and bounded; replaced whole at a reload."""

    forward: Forward
    """The stages that a turn passes before it is sent over its connection."""
    begun_above: Forward
    """Those of a turn that the server begins by itself: they count it."""
    models: Forward
    """Says whether a session may have the models that a message names."""
    quota: Forward
    """Says whether there is money left."""
    buffered: BufferedBytes
    message_bytes: int
    session_s: float | None = None


class CurrentRequest(Protocol):
    """What a connection asks of the request that it is answering."""

    incoming: IncomingRequest
    exchange: Exchange
    started_writing: bool
    continued: bool
    """Whether 100 Continue was said, or need not be."""

    @property
    def keep_alive(self) -> bool:
        """Whether another request may follow on this connection."""
        ...

    def process(self) -> None:
        """Answer it."""

    def refuse(self, error: ProxyError) -> None:
        """Answer with an error; break off if a head has been sent already."""

    def cancel(self, error: ProxyError) -> None:
        """Stop it for the operator; `error` is the answer if none has begun."""

    def connectionLost(self, reason: Failure) -> None:
        """The client has left."""


class Downstream(Protocol):
    """What a relay or a tunnel asks of the request that it answers."""

    http11: bool
    is_head: bool
    exchange: Exchange
    incoming: IncomingRequest

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open after this response."""
        ...

    def set_last(self) -> None:
        """The connection ends after this response, whatever comes in until then."""

    def end_exchange(self, outcome: Outcome) -> None:
        """The exchange is over; idempotent."""

    def response_complete(self) -> None:
        """Everything is written."""

    def response_broken(self) -> None:
        """Break off: what was written goes out, then a reset."""


class ApiRequest(Protocol):
    """What the API's resource and the rules for browsers ask of a request."""

    method: bytes
    channel: Any
    site: Any
    incoming: IncomingRequest
    exchange: Exchange
    api_path: ApiPath
    admitted_by: Any
    readable: HeaderPairs | None
    undelivered: list[ResponseBody] | None

    def run(self, forward: Forward, asked: ProxyRequest) -> None:
        """Answer with what `forward` returns or raises."""

    def cancel(self, error: ProxyError) -> None:
        """Stop it for the operator; `error` is the answer if none has begun."""


class StreamedRequest(Protocol):
    """What the early head of a stream asks of its request."""

    method: bytes
    http11: bool
    exchange: Exchange
    channel: Any
    """Its connection."""
    readable: HeaderPairs | None
    """Lines that let the page of a listed web origin read the answer."""
    started_writing: bool

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open after this response."""
        ...


class Connection(Protocol):
    """What requests, tunnels, the sweeper and the end of a connection ask of it."""

    transport: Any
    site: Any
    clock: Callable[[], float]
    clocks: ClientClocks
    tunnel: Any
    """Who takes the client's bytes once no HTTP is spoken any more, or None."""
    reading_paused: bool
    reader: Any
    """Its RequestReader."""

    @property
    def current(self) -> CurrentRequest | None:
        """The request that is being answered."""
        ...

    @property
    def holds_client_back(self) -> bool:
        """Whether the body does not come because we do not read it, or have not said 100 Continue."""
        ...

    def write(self, data: bytes) -> None:
        """Write to the client."""

    def isSecure(self) -> bool:
        """Whether it is encrypted."""
        ...

    def enter_tunnel(self, tunnel: Any) -> bytes:
        """Speak no HTTP any more: bytes go to `tunnel`. Returns those already read."""
        ...

    def request_done(self, keep_alive: bool) -> None:
        """The current request is answered."""

    def stop_reading(self, error: ProxyError) -> None:
        """Read no further request; `error` is the answer to the one that is arriving."""

    def drop_unread(self) -> None:
        """Forget what was read and not parsed, and read on."""

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause and resume `producer` with the client's transport, until the request is done."""

    def close(self) -> None:
        """Close once everything written is taken."""

    def abort_when_flushed(self) -> None:
        """Reset the connection once everything written is taken."""

    def hold_body(self) -> None:
        """Stop reading from the client."""

    def release_body(self) -> None:
        """Read on."""


class TunnelEnds(Protocol):
    """The methods of a tunnel that a conversation uses."""

    def to_upstream(self, data: bytes, lease: Lease | None = None) -> None:
        """Write to the upstream; `lease` is freed once the data have been sent."""

    def to_client(self, data: bytes) -> None:
        """Write to the client."""

    def pause_client(self, reason: str) -> None:
        """Stop reading from the client, until no reason is left."""

    def resume_client(self, reason: str) -> None:
        """Read from the client again if this was the last reason."""

    def pause_upstream(self, reason: str) -> None:
        """Stop reading from the upstream, until no reason is left."""

    def resume_upstream(self, reason: str) -> None:
        """Read from the upstream again if this was the last reason."""

    def finish(self, outcome: Outcome, *, broken: bool = False) -> None:
        """End both connections; `broken`: by a reset of the client's, so that it does not look like a normal end."""


class ConnectionSite(Protocol):
    """What a connection asks of its site."""

    draining: bool
    web_origins: WebOrigins
    wrong_scheme: Any
    adopt: Callable[[Any], None]

    def opened(self, channel: Any) -> None:
        """A connection is made."""

    def closed(self, channel: Any) -> None:
        """A connection is lost."""

    def make_request(self, channel: Any, incoming: IncomingRequest) -> CurrentRequest:
        """Make the request, and the record of its exchange."""
        ...

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        """Call `function` after some time."""

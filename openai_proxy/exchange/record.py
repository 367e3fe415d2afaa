"""The record of one exchange: one request and its response.

Filled by the edges and stages while the exchange runs, ended exactly once,
then read by the observers. Pure: times are arguments.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import define, frozen

from .attribute_names import OwnList, share_names
from .outcome import Outcome
from .usage import Usage

if TYPE_CHECKING:
    from .client_address import Peer

HeaderPairs: TypeAlias = list[tuple[bytes, bytes]]
"""Header lines in wire order, names in the case they were sent in. Never mutated: copy to change."""

HeaderLines: TypeAlias = Sequence[tuple[bytes, bytes]]
"""Header lines for reading only: pairs, or an object that makes them on demand (`wire.kept_lines`)."""

_random_bits = random.Random().getrandbits
"""For ids, which are no secrets: a system call for each would take ten times as long."""


_UNKNOWN = "?"
"""A client's address that has not been determined yet."""


_COMPLETE = Outcome.COMPLETE  # looking it up in its class takes as long as a call


@frozen
class Inspection:
    """How the turns of a WebSocket are read."""

    is_strict: bool = False
    """Whether a rule needs its contents: then nothing passes that cannot be read."""
    name: str = ""
    """The endpoint's name in rules."""


class ExchangeFacts:
    """What may become known of an exchange, with the value that each fact has before.

    A plain class with defaults in the class: an exchange sets only the few
    that it needs, while attrs would set all sixty.
    """

    __slots__ = ("__dict__", "__weakref__")

    target: bytes = b""
    """Path and query below the base URL, as the client sent them; empty before they are known."""
    reason: bytes = b""
    """The reason phrase of the response."""
    endpoint: str = ""
    """Bounded name for labels: `chat/completions`, `files/{id}/content`, `other`."""
    key: str | None = None
    """The client key's configured name or `key-` and 8 hex digits; None if unknown."""
    unknown_key: str | None = None
    """`key-` and 8 hex digits of a shown key that is unknown."""
    credential_id: str = ""
    """The name of the payer in limits and caches: the key's name, or a hash of the caller's credential."""
    model: str | None = None
    streaming: bool = False
    status: int | None = None
    outcome: Outcome | None = None
    error_code: str | None = None
    upstream_failure: str | None = None
    """Why the upstream could not serve this, in a sentence that holds no secret; None if it could."""
    first_byte_at: float | None = None
    ended_at: float | None = None
    upstream: str | None = None
    attempts: int = 0
    retry_reasons: list[str] = OwnList()  # type: ignore[assignment]  # a descriptor
    upstream_error_kinds: list[tuple[str, str]] = OwnList()  # type: ignore[assignment]  # a descriptor
    """(upstream name, kind) of each failed attempt and of a body that broke off, for the metrics."""
    failed_upstreams: list[str] = OwnList()  # type: ignore[assignment]  # a descriptor
    """The names of those among several upstreams whose attempts failed, in order, one for each failure."""
    route_choices: list[tuple[str, str]] = OwnList()  # type: ignore[assignment]  # a descriptor
    """Each choice among several upstreams, in order: the name, and the reason in one word."""
    route_reason: str | None = None
    """The reason for the last choice; None if there was none."""
    cached: bool = False
    cache_result: str | None = None
    """`hit`, `miss`, `bypass`, `shared`, or None if there is no cache."""
    rate_limited: str | None = None
    """`requests`, `tokens`, `concurrent` or `budget`, if such a limit refused the request, or cut its answer."""
    queued_s: float = 0.0
    """Seconds that the request waited here for its turn, instead of being refused."""
    is_queued = False
    """Whether it is waiting now."""
    usage: Usage | None = None
    answered_model: str | None = None
    """The model that the answer names; read only if the requested one has no price, or none was named."""
    service_tier: str | None = None
    """The service tier that the answer names, whose prices apply; None if it names none."""
    cost_usd: float | None = None
    """None if it is unknown, 0.0 for an answer from the cache."""
    reserved_usd: float | None = None
    """The money that the budget of its key has reserved for it; None if there was no reservation."""
    request_bytes: int = 0
    response_bytes: int = 0
    connect_s: float = 0.0
    """Seconds spent making connections to the upstream, a part of `upstream_s`; most exchanges find one."""
    upstream_s: float = 0.0
    """Seconds spent waiting for the upstream's head; the rest is overhead."""
    response_first_body_at: float | None = None

    response_headers: HeaderLines | None = None
    request_body: bytes | None = None
    """The client's body if it was buffered as JSON; None for streamed uploads.

    None also once a stream has begun to answer it, if no observer wants bodies.
    """
    request_is_ordinary: bool = False
    """Whether `request_body` is a JSON object that every reader can decode; see `documents.ordinary_object`."""
    capture: Any = None
    """Attached by an observer that keeps bodies; see `observe`."""

    inspection: Inspection | None = None
    """Set for a WebSocket whose turns are exchanges of their own; None for an unread one, and for all else."""
    connection: str | None = None
    """For a turn of a WebSocket, the id of the exchange that opened it; None for all else."""
    turn: int | None = None
    """The number of the turn: 1, 2, ...; None for all else."""

    goes_on: bool = False
    """Whether the upstream continues after its answer (a background response): then nothing is estimated."""
    pending_call: str | None = None
    """The name of that continuing call, whose usage a later answer will have."""
    heir: Exchange | None = None
    """The exchange that pays for the shared upstream call that this one left; None if it pays itself."""
    finish_alone: Callable[[Callable[[], None]], int | None] | None = None
    """If the upstream call continues without its client: takes a function to stop it, returns the bytes that may come.

    Returns None if it should not continue after all.
    """
    is_alone: bool = False
    """Whether the client has left and the call continues."""
    rejoined: bool = False
    """Whether the answer comes from another exchange's call, which pays for it."""
    tags: tuple[tuple[str, str], ...] = ()
    """Names and values of tags: whom within the key it is for."""
    end_user: str | None = None
    """The end user that the body names, by name or as a hash, if that is recorded."""
    refused_keys: tuple[str, ...] = ()
    """Among several upstreams, the names of those that answered 401."""
    is_error_behind_200: bool = False
    """Whether the upstream sent an error instead of an answer with status 200; see `note_error`."""
    is_error_in_stream: bool = False
    """Whether the upstream sent an error after it had begun to answer; see `note_later_error`."""

    output_events: Callable[[], int] | None = None
    """Returns the number of events with text that have passed, if a stage reads the stream; while it runs."""
    find_errors: Callable[[], None] | None = None
    """Called when the exchange ends, before its outcome is decided: searches the passed part of a stream for errors."""
    complete_usage: Callable[[Exchange], None] | None = None
    """Called when the exchange ends, before all others: estimates usage that was not reported."""

    _client_address: str | None = _UNKNOWN
    _id: str | None = None
    worker: int = 0
    """The worker that has it, which is the first three digits of the id; 0 in a single process."""
    _on_end: tuple[Callable[[Exchange], None], ...] = ()


@define(eq=False, repr=False)
class Exchange(ExchangeFacts):
    """One exchange, from the end of the request's head to its end.

    States: running (`outcome` is None), ended (`outcome` set, nothing
    changes any more). `started`, `first_byte_at`, `ended_at` are monotonic
    seconds; `timestamp` is seconds since the epoch.

    What every exchange has is in slots: with it there would be more names
    than the exchanges can share (`attribute_names`).
    """

    started: float
    timestamp: float
    method: str
    path: str
    """The path as the client sent it, without the query."""
    request_headers: HeaderLines | None = None
    """As the client sent them, credentials included: redact before writing."""
    peer: Peer | None = None
    """The other end of the client's connection."""

    @property
    def id(self) -> str:
        """`proxy-` and 16 hex digits; the `x-request-id` of our own errors."""
        if self._id is None:
            self._id = (
                f"proxy-{_random_bits(64):016x}"
                if not self.worker
                else f"proxy-{self.worker:03x}{_random_bits(52):013x}"
            )
        return self._id

    @property
    def known_id(self) -> str | None:
        """The id if it has been accessed; None before."""
        return self._id

    @property
    def caller(self) -> str | None:
        """Who called, for the operator: the key's name, or `key-` and 8 hex digits of a shown key."""
        if self.key is not None:
            return self.key
        digest = self.credential_id.removeprefix("cred-")
        return f"key-{digest[:8]}" if digest != self.credential_id else self.unknown_key

    @property
    def client_address(self) -> str | None:
        """The address of the client, as far as `access.proxies` allows; None if it is unknown.

        Determined when it is first accessed, which most exchanges never need.
        """
        if self._client_address is _UNKNOWN:
            peer = self.peer
            self._client_address = None if peer is None else peer.client_address(self.request_headers or ())
        return self._client_address

    @property
    def duration_s(self) -> float:
        """Seconds from the head of the request to the end; 0.0 while running."""
        return self.ended_at - self.started if self.ended_at is not None else 0.0

    @property
    def first_byte_s(self) -> float | None:
        """Seconds until the response's head was on its way to the client."""
        return self.first_byte_at - self.started if self.first_byte_at is not None else None

    def on_end(self, callback: Callable[[Exchange], None]) -> None:
        """Call `callback(exchange)` once when this exchange ends, however it ends.

        Callbacks run in the order of registration, before the observers see
        the record and before the client sees the end of its response. They
        free slots, settle reservations, complete the record. Must not raise.
        If the exchange has ended already (a shared call that outlives its
        leader) the callback is called at once.
        """
        if self.outcome is not None:
            callback(self)
        else:
            self._on_end += (callback,)

    def leave_to(self, heir: Exchange) -> None:
        """Let `heir`, which still runs, pay for the upstream call that this exchange began and left."""
        self.heir = heir
        self.usage = None
        self.cost_usd = 0.0
        heir.cached = False
        heir.cost_usd = None

    def note_error(self, code: str) -> None:
        """Note that the answer is an error in spite of its status 200: it ends as one, and costs nothing.

        Except for the error with which a budget of this proxy has ended the stream.
        """
        if self.rate_limited is not None:
            return
        self.is_error_behind_200 = True
        self.error_code = code
        self.upstream_failure = f"The upstream answered {self.status or 200} and reported an error: {code}."
        self.upstream_error_kinds.append((self.upstream or "none", "error_behind_200"))

    def note_later_error(self, code: str) -> None:
        """Note an error that came after a part of the answer: it ends as one, and the usage is charged.

        The exception is the same.
        """
        if self.rate_limited is not None:
            return
        self.is_error_in_stream = True
        self.error_code = code
        self.upstream_failure = f"The upstream reported an error after it had begun to answer: {code}."
        self.upstream_error_kinds.append((self.upstream or "none", "error_in_stream"))

    def note_labels(self, tier: str | None, model: str | None) -> None:
        """Note the service tier and model that the answer names; None for what it does not name."""
        self.service_tier = tier or self.service_tier
        self.answered_model = model or self.answered_model

    def let_go(self) -> None:
        """After the end, release what only observers needed: bodies and headers.

        The payer of a shared call stays, because the call may end later still.
        """
        self.request_body = self.request_headers = self.response_headers = None
        self.capture = self.output_events = None

    def end(self, outcome: Outcome, now: float) -> bool:
        """End the exchange; return True the first time, False (without effect) after."""
        if self.outcome is not None:
            return False
        if self.find_errors is not None:
            find, self.find_errors = self.find_errors, None
            find()
        if outcome is _COMPLETE and (self.is_alone or self.rejoined):
            outcome = Outcome.FINISHED_ALONE if self.is_alone else Outcome.REJOINED
        if self.is_error_in_stream:
            outcome = Outcome.UPSTREAM_ERROR
        if self.is_error_behind_200:
            outcome = Outcome.UPSTREAM_ERROR
            self.usage = self.complete_usage = None
        self.outcome = outcome
        self.ended_at = now
        if self.complete_usage is not None:
            complete, self.complete_usage = self.complete_usage, None
            complete(self)
        if self._on_end:
            callbacks, self._on_end = self._on_end, ()
            for callback in callbacks:
                callback(self)
        return True


share_names(
    Exchange,
    """endpoint target key credential_id model streaming request_body request_bytes request_is_ordinary
    upstream attempts connect_s upstream_s status reason response_headers first_byte_at response_first_body_at
    response_bytes complete_usage output_events find_errors capture usage cost_usd outcome ended_at _id _on_end""",
)

"""The record of one exchange: one request and its response.

Filled by the edges and stages while the exchange runs, ended exactly once,
then read by the observers. Pure: times are arguments.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import define, frozen

from .attribute_names import share_names

if TYPE_CHECKING:
    from .client_address import Peer

HeaderPairs: TypeAlias = list[tuple[bytes, bytes]]
"""Header lines in wire order, names in the case they were sent in. Never mutated: copy to change."""

HeaderLines: TypeAlias = Sequence[tuple[bytes, bytes]]
"""Header lines for reading only: pairs, or what makes them when it is asked (`wire.kept_lines`)."""

_random_bits = random.Random().getrandbits
"""For ids, which are no secrets: a call of the system for each would take ten times as long."""


_UNKNOWN = "?"
"""A client's address that was not asked for yet."""


class Outcome(str, Enum):
    """How an exchange ended, as the logs and metrics spell it."""

    COMPLETE = "complete"
    """The whole response went to the client, whatever its status."""
    CLIENT_GONE = "client_gone"
    UPSTREAM_TRUNCATED = "upstream_truncated"
    """The upstream left in the middle of a body."""
    UPSTREAM_ERROR = "upstream_error"
    TIMEOUT = "timeout"
    REJECTED = "rejected"
    """Refused by this proxy: the request or its credentials were wrong."""
    REJOINED = "rejoined"
    """The whole response went to the client, by the call of an exchange whose client had left."""
    FINISHED_ALONE = "finished_alone"
    """The client left, and the whole response came without it."""
    LIMIT = "limit"
    """Refused by this proxy: a limit of the key or of the proxy was reached."""
    CANCELLED = "cancelled"
    """Stopped by the operator: paid for as one whose client left."""
    WORKER_LOST = "worker_lost"
    """The process that ran it ended without a word; only the live view knows of it."""


ABANDONED = frozenset((Outcome.CLIENT_GONE, Outcome.CANCELLED))
"""Nobody waited for the end: what the upstream was asked for is paid all the same."""


_COMPLETE = Outcome.COMPLETE  # looking it up in its class takes as long as a call


@frozen
class TokenKinds:
    """Parts of one exchange's model tokens that may have prices of their own.

    Each is a part of the input or of the output, the cached ones a part of
    `Usage.cached_tokens`. `audio_seconds` are what a transcription model is
    paid for that counts no tokens.
    """

    cache_write_tokens: int = 0
    """Input that the upstream wrote into its prompt cache."""
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    audio_cached_tokens: int = 0
    image_input_tokens: int = 0
    image_output_tokens: int = 0
    image_cached_tokens: int = 0
    audio_seconds: float = 0.0


@define
class Usage:
    """Model tokens of one exchange, as the upstream reported or we estimated.

    `cached_tokens` are part of `input_tokens`, `reasoning_tokens` of
    `output_tokens`, as OpenAI counts them. `kinds` is None for plain text,
    which nearly all usage is. Never mutated (not frozen: that takes twice
    the time to make).
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    kinds: TokenKinds | None = None

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


@frozen
class Inspection:
    """That the turns of a WebSocket are read, and how."""

    is_strict: bool = False
    """A rule needs what it says: nothing passes that cannot be read."""
    name: str = ""
    """The endpoint, as rules know it."""


class _OwnList:
    """A list made when it is first asked for: most exchanges never fill it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, exchange: Any, owner: type) -> Any:
        if exchange is None:
            return self
        made: list[Any] = []
        exchange.__dict__[self._name] = made
        return made


class Exchange:
    """One exchange, from the end of the request's head to its end.

    States: running (`outcome` is None), ended (`outcome` set, nothing
    changes any more). `started`, `first_byte_at`, `ended_at` are monotonic
    seconds; `timestamp` is seconds since the epoch.

    A plain class whose defaults stand in the class: an exchange sets the few
    fields that it has something for, where attrs would set all thirty. Those
    that each one has are slots: with them there would be more names than the
    exchanges can share (`attribute_names`).
    """

    __slots__ = (
        "__dict__",
        "__weakref__",
        "method",
        "path",
        "peer",
        "request_headers",
        "started",
        "timestamp",
    )

    started: float
    timestamp: float
    method: str
    path: str
    """The path as the client sent it, without the query."""
    request_headers: HeaderLines | None
    """As the client sent them, credentials included: redact before writing."""
    peer: Peer | None
    """The other end of the client's connection."""
    target: bytes = b""
    """Path and query below the base URL, as the client sent them; empty before they are known."""
    reason: bytes = b""
    """The reason phrase of the response."""
    endpoint: str = ""
    """Bounded name for labels: `chat/completions`, `files/{id}/content`, `other`."""
    key: str | None = None
    """The client key's configured name or `key-` and 8 hex digits; None if unknown."""
    unknown_key: str | None = None
    """`key-` and 8 hex digits of the key that was shown and is not known."""
    credential_id: str = ""
    """Who pays, for limits and caches: the key's name, or a hash of the caller's credential."""
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
    retry_reasons: list[str] = _OwnList()  # type: ignore[assignment]  # a descriptor
    upstream_error_kinds: list[tuple[str, str]] = _OwnList()  # type: ignore[assignment]  # a descriptor
    """(upstream name, kind) of each failed attempt and of a body that broke off, for the metrics."""
    failed_upstreams: list[str] = _OwnList()  # type: ignore[assignment]  # a descriptor
    """Names of the upstreams of several whose attempts failed, in order; one that failed twice stands twice."""
    route_choices: list[tuple[str, str]] = _OwnList()  # type: ignore[assignment]  # a descriptor
    """Each choice among several upstreams, in order: its name, and the reason in one word."""
    route_reason: str | None = None
    """The reason of the last one; None if there was no choice."""
    cached: bool = False
    cache_result: str | None = None
    """`hit`, `miss`, `bypass`, `shared`, or None if there is no cache."""
    rate_limited: str | None = None
    """`requests`, `tokens`, `concurrent` or `budget`, where such a limit refused the request, or cut its answer."""
    queued_s: float = 0.0
    """Seconds that the request waited here for its turn, instead of being refused."""
    is_queued = False
    """It waits now."""
    usage: Usage | None = None
    answered_model: str | None = None
    """The model that the answer names, where it was looked for: the one asked for has no price, or none was named."""
    service_tier: str | None = None
    """As the answer names it: its prices hold. None if it says nothing."""
    cost_usd: float | None = None
    """None if it is not known, 0.0 for an answer from the cache."""
    reserved_usd: float | None = None
    """What the budget of its key has set aside for it; None if nobody asked."""
    request_bytes: int = 0
    response_bytes: int = 0
    connect_s: float = 0.0
    """Seconds spent making connections to the upstream, a part of `upstream_s`; most exchanges find one."""
    upstream_s: float = 0.0
    """Seconds spent waiting for the upstream's head; the rest is overhead."""
    response_first_body_at: float | None = None

    response_headers: HeaderLines | None = None
    request_body: bytes | None = None
    """The client's body where it was buffered as JSON; None for streamed uploads.

    None also once a stream has begun to answer it, if no observer wants bodies.
    """
    request_is_ordinary: bool = False
    """`request_body` is a JSON object that every reader can decode; see `documents.ordinary_object`."""
    capture: Any = None
    """What an observer that keeps bodies attached; see `observe`."""

    inspection: Inspection | None = None
    """Of a WebSocket whose turns are exchanges of their own; None for one that nobody reads, and for all else."""
    connection: str | None = None
    """The id of the exchange that opened the WebSocket that this is a turn of; None for all else."""
    turn: int | None = None
    """Which turn of it this is: 1, 2, ...; None for all else."""

    goes_on: bool = False
    """The upstream goes on working when it has answered (a background response): nothing is estimated."""
    pending_call: str | None = None
    """The name of the call that goes on and whose usage a later answer will say."""
    heir: Exchange | None = None
    """Whose exchange pays for the shared upstream call that this one left; None if it pays itself."""
    finish_alone: Callable[[Callable[[], None]], int | None] | None = None
    """If the upstream call goes on when the client leaves: takes what stops it, returns the bytes that may still come.

    Returns None if it shall not go on after all.
    """
    is_alone: bool = False
    """The client has left, and the call goes on."""
    rejoined: bool = False
    """The answer is that of another exchange's call, which pays for it."""
    tags: tuple[tuple[str, str], ...] = ()
    """Names and values of tags: who within the key it is for."""
    end_user: str | None = None
    """Whom the body says that it is for, by name or as a hash, where that is noted."""
    refused_keys: tuple[str, ...] = ()
    """Names of the upstreams of several that answered 401."""
    is_error_behind_200: bool = False
    """The upstream told an error before it said anything, under a status that is none; see `note_error`."""
    is_error_in_stream: bool = False
    """The upstream told an error after it had begun to answer; see `note_later_error`."""

    output_events: Callable[[], int] | None = None
    """Tells how many events with text of the model have passed, where somebody reads the stream; while it runs."""
    find_errors: Callable[[], None] | None = None
    """Called when the exchange ends, before its outcome is decided: looks for errors in what has passed of a stream."""
    complete_usage: Callable[[Exchange], None] | None = None
    """Called when the exchange ends, before all others: estimates what nobody reported."""

    _client_address: str | None = _UNKNOWN
    _id: str | None = None
    worker: int = 0
    """Which of several workers has it: the first three digits of the id. 0 if there is one process."""
    _on_end: tuple[Callable[[Exchange], None], ...] = ()

    def __init__(
        self,
        started: float,
        timestamp: float,
        method: str,
        path: str,
        request_headers: HeaderLines | None = None,
        peer: Peer | None = None,
        **fields: Any,
    ) -> None:
        self.started = started
        self.timestamp = timestamp
        self.method = method
        self.path = path
        self.request_headers = request_headers
        self.peer = peer
        if fields:
            self.__dict__.update(fields)

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
        """The id if somebody has asked for it; None before."""
        return self._id

    @property
    def caller(self) -> str | None:
        """Who called, for the operator: the key's name, or `key-` and 8 hex digits of the key that was shown."""
        if self.key is not None:
            return self.key
        digest = self.credential_id.removeprefix("cred-")
        return f"key-{digest[:8]}" if digest != self.credential_id else self.unknown_key

    @property
    def client_address(self) -> str | None:
        """The address of the client, as `access.proxies` lets it be known; None if nobody knows it.

        Worked out when it is asked for: most exchanges never are.
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
        Where the exchange has ended already (a shared call that outlives its
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
        """Note that the answer is an error although its status is none: it ends as one, and costs nothing.

        Unless it is the one that a budget of ours has ended the stream with.
        """
        if self.rate_limited is not None:
            return
        self.is_error_behind_200 = True
        self.error_code = code
        self.upstream_failure = f"The upstream answered {self.status or 200} and told an error: {code}."
        self.upstream_error_kinds.append((self.upstream or "none", "error_behind_200"))

    def note_later_error(self, code: str) -> None:
        """Note an error that came after a part of the answer: it ends as one, and what was used is charged.

        With the same exception.
        """
        if self.rate_limited is not None:
            return
        self.is_error_in_stream = True
        self.error_code = code
        self.upstream_failure = f"The upstream told an error after it had begun to answer: {code}."
        self.upstream_error_kinds.append((self.upstream or "none", "error_in_stream"))

    def note_labels(self, tier: str | None, model: str | None) -> None:
        """Note what the answer says of itself; None for what it does not say."""
        self.service_tier = tier or self.service_tier
        self.answered_model = model or self.answered_model

    def let_go(self) -> None:
        """Forget, after the end, what only observers needed: bodies and headers.

        Not who pays for a shared call: that may end later still.
        """
        self.request_body = self.request_headers = self.response_headers = None
        self.capture = self.output_events = None

    def end(self, outcome: Outcome, now: float) -> bool:
        """End the exchange; True the first time, False (and no effect) after."""
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

"""The vocabulary of the onion: requests, responses, stages, body filters.

No behaviour beyond the values themselves. Imported by the policies and by
both edges; imports only the ground.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol, TypeAlias

from attrs import Factory, define
from twisted.internet.interfaces import IProtocol

from .record import Exchange, HeaderPairs


class RequestBody(Protocol):
    """A request's body that is still arriving (also a twisted IBodyProducer).

    Either `read` it whole or let the upstream edge produce it, once; again
    after each `rewind` that returns True.
    """

    length: int
    """Bytes announced, or `twisted.web.iweb.UNKNOWN_LENGTH` if it is chunked."""

    def check_announced(self) -> None:
        """Raise RequestTooLarge if `length` is above the limit for bodies of any kind."""
        ...

    async def beginning(self) -> bytes:
        """Return the first bytes, without taking them; empty only for an empty body."""
        ...

    async def inspect(self, inspector: Callable[[bytes], bool]) -> None:
        """Show the body to `inspector` as it comes, until it first returns True and after; nothing is taken.

        A ProxyError that it raises breaks the body, and an upload with it.
        """
        ...

    async def read(self, limit_bytes: int, hold: Callable[[int], bool] | None = None) -> bytes:
        """Return the whole body; raise RequestTooLarge above `limit_bytes`, Overloaded if `hold` has no room."""
        ...

    @property
    def rewindable(self) -> bool:
        """Whether `rewind` will return True for as long as the body lasts."""
        ...

    def rewind(self) -> bool:
        """Go back to the beginning after the production was stopped; False if that is gone."""
        ...


class ResponseBody(Protocol):
    """An undelivered response body; deliver it once or discard it once."""

    @property
    def length(self) -> int | None:
        """Bytes to come if the framing says so, else None."""
        ...

    @property
    def whole(self) -> bytes | None:
        """All bytes, if they are there and `length` is known: they may be taken instead of delivery. Else None."""
        ...

    def deliverBody(self, protocol: IProtocol) -> None:
        """Hand the body to `protocol` as twisted.web's IResponse does.

        `makeConnection` gives a transport with `pauseProducing`,
        `resumeProducing` and `stopProducing` (= abort); then `dataReceived`,
        then `connectionLost(Failure)` with ResponseDone for a whole body.
        """
        ...

    def discard(self) -> None:
        """Free the connection without reading on. Idempotent."""
        ...


@define(eq=False)
class ProxyRequest:
    """A request on its way through the stages.

    The stages that find out who asks and what for fill it in (`credential`,
    `body`, `document`). From there on it is never mutated: `evolve` makes a
    changed copy, by hand, for attrs' own takes 7 µs where this takes 1 µs; who
    changes several fields of a hot path sets them on what `evolve()` returns.
    """

    method: bytes
    target: bytes
    """Path and query below the upstream's base URL, byte for byte, with its leading slash."""
    headers: HeaderPairs
    """End-to-end header lines but Host; Content-Length stays where the client sent one."""
    body: bytes | RequestBody | None
    """bytes once buffered (JSON), a RequestBody while it arrives, None without a body."""
    exchange: Exchange
    buffered: bool = False
    """The body is JSON: it is read whole before it goes upstream."""
    required: tuple[str, ...] = ()
    """Members that the JSON body must have; empty if nothing is checked."""
    encoded: bool = False
    """The body has a Content-Encoding: it passes unlooked-at, unless a rule needs it."""
    document: dict[str, Any] | None = None
    """The JSON object of `body` if there is one, without its large values (`wire.request_json.outline`).

    Never mutate it.
    """
    credential: bytes = b""
    """What identifies the upstream key: connections are never shared between two of them."""
    caller: bytes = b""
    """What tells its caller apart from others of the same key: their answers are not shared."""
    upgrade: bool = False
    """A WebSocket handshake: the answer may be a 101 and a tunnel."""
    route: Any = None
    """The upstream chosen by a routing stage; None means the default one."""
    path_model: str | None = None
    """The model that the path names, of `deployments/NAME/...` and `engines/NAME/...`."""
    form_model: str | None = None
    """The `model` of a multipart form, where it was looked for."""
    form_place: tuple[int, int] | None = None
    """Where that stands in the body: its first byte, and the one after it."""
    azure: bool = False
    """Asked for in Azure's form; see `wire.targets.ApiPath.azure`."""
    text: bytes | None = None
    """The JSON object in plain UTF-8 where `body` is compressed or in another encoding; else None."""
    odd_names: bool = False
    """Some member's name has capital letters: servers that ignore case may take it for another."""
    prompt_estimate: int | None = None
    """Tokens of the prompt; None until `prompt_estimate.estimated_prompt` is asked."""
    endpoint: str = ""
    """The name that rules about endpoints go by; see `wire.targets.ApiPath.named`."""
    sniffed: bool = False
    """The type of the body does not say whether it is JSON: its first bytes do."""
    turn: Any = None
    """The turn of a WebSocket that this asks for (`downstream.turn.Turn`); None for HTTP."""
    batch_input: Any = None
    """What the input file of a batch asks for (`policies.batches.input.BatchInput`), where that has to be known."""
    undelivered: list[ResponseBody] = Factory(list)
    """Bodies that were received for it and are not on their way to the client yet; the copies share one list.

    Whoever ends the exchange, or a call that several exchanges share, discards what is left in it.
    """

    @property
    def json(self) -> bytes:
        """The JSON object as text in UTF-8; only with a `document`."""
        text = self.text if self.text is not None else self.body
        assert isinstance(text, bytes)
        return text

    @property
    def model(self) -> str | None:
        """The model that every rule goes by: the one in the path, else the JSON body's or the form's; None without one.

        The name that the client used, until the routing stage puts the upstream's in its place.
        """
        if self.path_model is not None:
            return self.path_model
        model = self.document.get("model") if self.document is not None else self.form_model
        return model if isinstance(model, str) else None

    def evolve(self, **changes: Any) -> ProxyRequest:
        """Return a copy with some fields changed."""
        copy = ProxyRequest(
            self.method,
            self.target,
            self.headers,
            self.body,
            self.exchange,
            self.buffered,
            self.required,
            self.encoded,
            self.document,
            self.credential,
            self.caller,
            self.upgrade,
            self.route,
            self.path_model,
            self.form_model,
            self.form_place,
            self.azure,
            self.text,
            self.odd_names,
            self.prompt_estimate,
            self.endpoint,
            self.sniffed,
            self.turn,
            self.batch_input,
            self.undelivered,
        )
        for name, value in changes.items():
            setattr(copy, name, value)
        return copy


@define(eq=False)
class ProxyResponse:
    """A response's head with its undelivered body, on its way back. Never mutated."""

    status: int
    reason: bytes
    headers: HeaderPairs
    """End-to-end header lines, in order, case and number as sent."""
    body: ResponseBody
    filters: tuple[BodyFilter, ...] = ()
    """Applied in order to the bytes that go to the client."""

    def filtered(self, body_filter: BodyFilter) -> ProxyResponse:
        """Return a copy with one more filter, behind the others."""
        return ProxyResponse(self.status, self.reason, self.headers, self.body, (*self.filters, body_filter))

    def evolve(self, **changes: Any) -> ProxyResponse:
        """Return a copy with some fields changed."""
        copy = ProxyResponse(self.status, self.reason, self.headers, self.body, self.filters)
        for name, value in changes.items():
            setattr(copy, name, value)
        return copy


def discard_all(bodies: list[ResponseBody]) -> None:
    """Discard response bodies, and let go of them."""
    while bodies:
        bodies.pop().discard()


class BodyFilter(Protocol):
    """Bytes to bytes, incrementally."""

    transparent: bool
    """True if the output always equals the input (a watcher): the Content-Length is kept."""

    def feed(self, data: bytes) -> bytes:
        """Return what may go on now, possibly nothing."""
        ...

    def finish(self) -> bytes:
        """Return the rest. Called once, on a clean end only; an aborted body has no finish."""
        ...


class Kind(NamedTuple):
    """What of a request is known from its head, and stays as it is on its way through the stages."""

    method: bytes
    endpoint: str
    """`Exchange.endpoint`"""
    named: str
    """`ProxyRequest.endpoint`"""
    upgrade: bool
    buffered: bool


Forward: TypeAlias = Callable[[ProxyRequest], Awaitable[ProxyResponse]]


class Stage(Protocol):
    """A policy around `forward`: may refuse, change, repeat or answer itself.

    Raises `exchange.errors.ProxyError` to refuse, at the call or when awaited: a
    stage that has nothing to do behind `forward` need not be a coroutine. A
    response that it does not return it must discard, unless it raises: then
    `request.undelivered` is discarded. State that must be freed however the
    exchange ends is freed by `request.exchange.on_end`.

    It may have a method `concerns(kind: Kind) -> bool`. False says that it
    passes every request of that kind on as it is: it is left out of their way.
    """

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]: ...

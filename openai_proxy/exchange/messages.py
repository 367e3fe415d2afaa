"""The types that stages exchange: requests, responses, stages, body filters.

They have no behaviour beyond the values themselves. Imported by the policies
and by both edges; imports only this room.
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
    """The announced number of bytes, or `twisted.web.iweb.UNKNOWN_LENGTH` if it is chunked."""

    def check_announced(self) -> None:
        """Raise RequestTooLarge if `length` is above the limit for bodies of any kind."""
        ...

    async def beginning(self) -> bytes:
        """Return the first bytes, without taking them; empty only for an empty body."""
        ...

    async def inspect(self, inspector: Callable[[bytes], bool]) -> None:
        """Show the whole body to `inspector` as it comes; return when that first returns True, or at the end.

        Nothing is taken. A ProxyError that it raises breaks the body, and an upload with it.
        """
        ...

    async def read(self, limit_bytes: int, hold: Callable[[int], bool] | None = None) -> bytes:
        """Return the whole body; raise RequestTooLarge above `limit_bytes`, or Overloaded if `hold` returns False."""
        ...

    @property
    def rewindable(self) -> bool:
        """Whether `rewind` will return True for as long as the body lasts."""
        ...

    def rewind(self) -> bool:
        """Go back to the beginning after the production was stopped; return False if that is impossible."""
        ...


class ResponseBody(Protocol):
    """An undelivered response body; deliver it once or discard it once."""

    @property
    def length(self) -> int | None:
        """The number of bytes to come if the framing has it, else None."""
        ...

    @property
    def whole(self) -> bytes | None:
        """All bytes, if they have come and `length` is known: they may be used instead of a delivery. Else None."""
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


@define(eq=False, repr=False)
class ProxyRequest:
    """A request on its way through the stages.

    The stages that identify the caller and parse the body fill it in
    (`credential`, `body`, `document`). After that it is never mutated: `evolve`
    makes a changed copy. It is written by hand, because attrs' own takes 7 µs
    instead of 1 µs; hot code that changes several fields sets them on the
    result of `evolve()`.
    """

    method: bytes
    target: bytes
    """Path and query below the upstream's base URL, byte for byte, with its leading slash."""
    headers: HeaderPairs
    """End-to-end header lines except Host; Content-Length is among them if the client sent one."""
    body: bytes | RequestBody | None
    """bytes once buffered (JSON), a RequestBody while it arrives, None without a body."""
    exchange: Exchange
    buffered: bool = False
    """Whether the body is JSON, which is read whole before it is sent upstream."""
    required: tuple[str, ...] = ()
    """Members that the JSON body must have; empty if nothing is checked."""
    encoded: bool = False
    """Whether the body has a Content-Encoding: then it passes unread, unless a rule needs it."""
    document: dict[str, Any] | None = None
    """The JSON object of `body` if there is one, without its large values (`wire.request_json.outline`).

    Never mutate it.
    """
    credential: bytes = b""
    """The upstream key: connections are never shared between two keys."""
    caller: bytes = b""
    """Distinguishes callers with the same key: their answers are not shared."""
    upgrade: bool = False
    """Whether it is a WebSocket handshake, whose answer may be a 101 and a tunnel."""
    route: Any = None
    """The upstream chosen by a routing stage; None means the default one."""
    path_model: str | None = None
    """The model in a path such as `deployments/NAME/...` or `engines/NAME/...`."""
    form_model: str | None = None
    """The `model` of a multipart form, if it was searched."""
    form_span: tuple[int, int] | None = None
    """Its offsets in the body: its first byte, and the one after it."""
    azure: bool = False
    """Whether the path has Azure's form; see `wire.targets.ApiPath.azure`."""
    text: bytes | None = None
    """The JSON object in plain UTF-8 if `body` is compressed or in another encoding; else None."""
    odd_names: bool = False
    """Whether some member's name has capital letters: servers that ignore case may take it for another."""
    prompt_estimate: int | None = None
    """The estimated tokens of the prompt; None until `prompt_estimate.estimated_prompt` is called."""
    endpoint: str = ""
    """The endpoint's name in rules about endpoints; see `wire.targets.ApiPath.named`."""
    sniffed: bool = False
    """Whether only the first bytes of the body, and not its type, show whether it is JSON."""
    turn: Any = None
    """The turn of a WebSocket that this request is (`downstream.turn.Turn`); None for HTTP."""
    batch_input: Any = None
    """The contents of a batch's input file (`policies.batches.input.BatchInput`), if a rule needs them."""
    undelivered: list[ResponseBody] = Factory(list)
    """Response bodies that were received for it and are not being sent to the client yet; all copies share the list.

    Whoever ends the exchange, or a call that several exchanges share, discards what is left in it.
    """

    @property
    def json(self) -> bytes:
        """The JSON object as UTF-8 text; only with a `document`."""
        text = self.text if self.text is not None else self.body
        assert isinstance(text, bytes)
        return text

    @property
    def model(self) -> str | None:
        """The model for all rules: the one in the path, else that of the JSON body or the form; None without one.

        It is the client's name, until the routing stage replaces it by the upstream's.
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
            self.form_span,
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


@define(eq=False, repr=False)
class ProxyResponse:
    """A response's head with its undelivered body, on its way to the client. Never mutated."""

    status: int
    reason: bytes
    headers: HeaderPairs
    """End-to-end header lines, in order, case and number as sent."""
    body: ResponseBody
    filters: tuple[BodyFilter, ...] = ()
    """The filters that are applied, in order, to the bytes for the client."""

    def filtered(self, body_filter: BodyFilter) -> ProxyResponse:
        """Return a copy with one more filter, after the others."""
        return ProxyResponse(self.status, self.reason, self.headers, self.body, (*self.filters, body_filter))

    def evolve(self, **changes: Any) -> ProxyResponse:
        """Return a copy with some fields changed."""
        copy = ProxyResponse(self.status, self.reason, self.headers, self.body, self.filters)
        for name, value in changes.items():
            setattr(copy, name, value)
        return copy


def discard_all(bodies: list[ResponseBody]) -> None:
    """Discard response bodies, and empty the list."""
    while bodies:
        bodies.pop().discard()


class BodyFilter(Protocol):
    """Transforms bytes incrementally."""

    transparent: bool
    """Whether the output always equals the input (a watcher), so that the Content-Length is kept."""

    def feed(self, data: bytes) -> bytes:
        """Return the bytes that may be sent now, possibly none."""
        ...

    def finish(self) -> bytes:
        """Return the rest. Called once, on a clean end only; an aborted body has no finish."""
        ...


class Kind(NamedTuple):
    """The properties of a request that its head determines and no stage changes."""

    method: bytes
    endpoint: str
    """`Exchange.endpoint`"""
    named: str
    """`ProxyRequest.endpoint`"""
    upgrade: bool
    buffered: bool


Forward: TypeAlias = Callable[[ProxyRequest], Awaitable[ProxyResponse]]


class Stage(Protocol):
    """A policy around `forward`: it may refuse, change, repeat or answer a request itself.

    Raises `exchange.errors.ProxyError` to refuse, at the call or when awaited:
    a stage that has nothing to do after `forward` need not be a coroutine. It
    must discard a response that it does not return, unless it raises: then
    `request.undelivered` is discarded. State that must be freed however the
    exchange ends is freed by `request.exchange.on_end`.

    It may have a method `concerns(kind: Kind) -> bool`. False means that it
    forwards every request of that kind unchanged, so that it is left out of
    their chain.
    """

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]: ...

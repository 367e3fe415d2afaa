"""Read a JSON body whole, and check what the public contract requires of it.

Placed after authentication, so that unknown callers cannot make the proxy read,
and before the limits, so that a request refused here does not count.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable
from typing import cast

from attrs import frozen

from ...exchange.buffered_bytes import SMALL_BYTES, TOO_MUCH_BUFFERED, BufferedBytes, Lease
from ...exchange.errors import JSON_BODY_LIMIT, InvalidJSON, Overloaded, RequestTooLarge, UnreadableBody
from ...exchange.messages import Forward, ProxyRequest, ProxyResponse, RequestBody
from ...net.turns import Turns
from ...wire.body_headers import media_type_and_coding
from ...wire.codings import maybe_decoded, maybe_decoder
from ...wire.request_json import (
    NestedTooDeep,
    TooManyMembers,
    TooManyValues,
    begins_like_object,
    is_costly,
    models_named,
    read_with_outline,
)
from ...wire.targets import models_of_query
from ..usage.estimate import prompt_tokens


@frozen
class BodyRules:
    """Which requests fall under rules that depend on their body.

    Callers are named by their `credential_id`.
    """

    everybody: bool = False
    """Something is set per model, or model tokens are limited for all."""
    callers: frozenset[str] = frozenset()
    """Callers with a budget, a limit of model tokens or an allow-list of models of their own."""
    exempt: frozenset[str] = frozenset()
    """Callers without any such rule, whatever holds for everybody."""
    allow_lists: frozenset[str] = frozenset()
    """Callers with an allow-list of models: a model that cannot be read is not allowed (403)."""
    owners: frozenset[str] = frozenset()
    """Callers who may refer to stored objects of their own only."""
    routed: bool = False
    """The model and the state that a body names choose one of several upstreams, as far as it can be read."""

    def must_read(self, request: ProxyRequest) -> bool:
        """Say whether this request is refused if its body cannot be read."""
        return request.exchange.credential_id in self.owners or self.need(request)

    def need(self, request: ProxyRequest) -> bool:
        """Say whether a rule depends on the model that the body of this request names, or on its size."""
        caller = request.exchange.credential_id
        return caller in self.callers or (self.everybody and caller not in self.exempt)


NO_RULES = BodyRules()


class ReadBody:
    """Buffer JSON bodies, each up to a limit and all together up to `buffered`; other bodies stream through.

    `rules` says when a body must be read: then a compressed one is decoded, and
    one that cannot be read is refused. With `estimates`, the tokens of each
    prompt are estimated while its document is decoded; the document is released
    here, and only its outline goes on. Bodies that take long to decode wait for
    their `turns`.
    """

    def __init__(
        self,
        limit_bytes: int,
        rules: BodyRules = NO_RULES,
        estimates: bool = False,
        buffered: BufferedBytes | None = None,
        turns: Turns | None = None,
    ) -> None:
        self._turns = turns
        self._limit_bytes = limit_bytes
        self._buffered = buffered or BufferedBytes(sys.maxsize)
        self._rules = rules
        self._estimates = estimates

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        if not request.buffered:
            return self._pass(request, forward)
        body = request.body
        if body is None or type(body) is bytes:
            data = body or b""
            if len(data) > self._limit_bytes:
                raise RequestTooLarge.above(self._limit_bytes, JSON_BODY_LIMIT)
            if len(data) > SMALL_BYTES:
                lease = Lease(self._buffered)
                _hold(lease, len(data))
                request.exchange.on_end(lease.free)
                if self._turns is not None and is_costly(data):
                    return self._look_in_turn(request, data, self._turns, forward)
            self._look(request, data)
            return forward(request)
        return self._read(request, cast(RequestBody, body), forward)

    def _pass(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        if request.body is not None:
            arriving = cast(RequestBody, request.body)
            if arriving.length == 0:
                request.body = b""  # announced as empty, as SDKs do: it can be sent again
            else:
                # refuse before anything is opened, spent or sent; the client may be waiting for a 100
                arriving.check_announced()
                if request.sniffed:
                    return self._sniff(request, arriving, forward)
        if request.upgrade:
            # a tunnel names in its target what other requests name in their body
            models = models_of_query(request.target.partition(b"?")[2])
            request.exchange.model = request.path_model or (models[0] if models else None)
        return forward(request)

    async def _sniff(self, request: ProxyRequest, arriving: RequestBody, forward: Forward) -> ProxyResponse:
        must_read = self._rules.must_read(request)
        media_type, _ = media_type_and_coding(request.headers)
        if must_read or _is_often_json(media_type):
            beginning = await arriving.beginning()
            if must_read if request.encoded else begins_like_object(beginning):
                return await self._read(request, arriving, forward)
        return await forward(request)

    async def _read(self, request: ProxyRequest, arriving: RequestBody, forward: Forward) -> ProxyResponse:
        lease = Lease(self._buffered)
        try:
            data = await arriving.read(self._limit_bytes, lease.take)
        except BaseException:  # among them: the client left
            lease.free()
            raise
        # keep the bytes for further attempts, and for the exchange log
        request.exchange.on_end(lease.free)
        if not isinstance(arriving.length, int):
            # It came chunked and is sent with a length: framing belongs to one hop.
            request.headers = [*request.headers, (b"Content-Length", b"%d" % len(data))]
        request.body = data
        if self._turns is not None and is_costly(data):
            return await self._look_in_turn(request, data, self._turns, forward)
        self._look(request, data)
        return await forward(request)

    async def _look_in_turn(
        self, request: ProxyRequest, data: bytes, turns: Turns, forward: Forward
    ) -> ProxyResponse:
        """Read a body with very many values when its turn comes, so that other exchanges are served meanwhile."""
        await turns.run(lambda: self._look(request, data))
        return await forward(request)

    def _look(self, request: ProxyRequest, data: bytes) -> None:
        """Note what the body says, or raise the ProxyError that refuses the request."""
        exchange = request.exchange
        exchange.request_body = data
        exchange.request_bytes = len(data)
        if request.encoded:
            must_be_read = self._rules.must_read(request)
            if not data or not (must_be_read or self._rules.routed):
                return
            try:
                plain = self._decoded(request, data)
            except (UnreadableBody, RequestTooLarge):
                if must_be_read:
                    raise
                return
            if plain is None:
                if must_be_read:
                    self._refuse_unread(request)
                return
            lease = Lease(self._buffered)
            _hold(lease, len(plain))
            exchange.on_end(lease.free)
            data = plain
        try:
            read, document, odd_names = read_with_outline(data, request.required)
        except (NestedTooDeep, TooManyMembers, TooManyValues):
            if request.encoded and not self._rules.must_read(request):
                return
            raise
        except InvalidJSON:
            if request.required:
                raise
            if data and self._rules.must_read(request):
                self._refuse_unread(request)
            return
        request.document, request.odd_names = document, odd_names
        if read.text is not request.body:
            request.text = read.text
        if odd_names and self._must_be_clear(request) and _is_ambiguous(read.document):
            raise UnreadableBody("The JSON body of your request names more than one model.", param="model")
        exchange.request_is_ordinary = read.ordinary and not request.encoded
        exchange.model = request.model
        exchange.streaming = document.get("stream") is True or request.turn is not None
        if self._estimates:
            request.prompt_estimate = prompt_tokens(read.text, read.document)

    def _decoded(self, request: ProxyRequest, data: bytes) -> bytes | None:
        """Return the decoded body, None if its coding is unknown; raise UnreadableBody if it is broken."""
        _, coding = media_type_and_coding(request.headers)
        decoded = maybe_decoded(data, coding, self._limit_bytes)
        if decoded is None:
            if maybe_decoder(coding) is not None:
                raise UnreadableBody
            return None
        plain, whole = decoded
        if not whole:
            if len(plain) >= self._limit_bytes:
                raise RequestTooLarge.above(self._limit_bytes, JSON_BODY_LIMIT)
            raise UnreadableBody
        return plain

    def _refuse_unread(self, request: ProxyRequest) -> None:
        """Refuse a body that cannot be read, unless the allow-list of models does so later."""
        caller, rules = request.exchange.credential_id, self._rules
        if caller not in rules.allow_lists or caller in rules.owners or request.path_model is not None:
            raise UnreadableBody

    def _must_be_clear(self, request: ProxyRequest) -> bool:
        """Return whether a second model, in another spelling, is refused here; an allow-list checks each itself."""
        return self._rules.need(request) and request.exchange.credential_id not in self._rules.allow_lists


def _is_often_json(media_type: bytes) -> bool:
    """Say whether bodies of this type are JSON all the same: without a type, text, or what curl sends by default."""
    return (
        not media_type
        or media_type.startswith(b"text/")
        or media_type == b"application/x-www-form-urlencoded"
    )


def _hold(lease: Lease, size_bytes: int) -> None:
    if not lease.take(size_bytes):
        raise Overloaded(TOO_MUCH_BUFFERED)


def _is_ambiguous(document: dict[str, object]) -> bool:
    """Return whether servers may read different models from it, because some ignore case."""
    named = models_named(document)
    return any(model != named[0] for model in named[1:])

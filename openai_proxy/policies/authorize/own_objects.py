"""Let each key see only its own stored objects: files, batches, responses and the like.

Runs after the body has been read; a refusal counts against no limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Protocol, cast

from twisted.internet.defer import CancelledError, Deferred

from ...exchange.access_errors import EndpointNotAllowed
from ...exchange.errors import NoSuchObject, OwnersUnavailable, UnreadableBody
from ...exchange.messages import Forward, ProxyRequest, ProxyResponse, RequestBody
from ...logs import logger
from ...wire.body_headers import ask_identity, is_event_stream, media_type_and_coding
from ...wire.codings import maybe_decoded
from ...wire.form_model import FIRST_BYTES, FormModel, boundary_of
from ...wire.model_list import changed_list, entries_listed, ids_listed
from ...wire.sse import SSEDecoder
from ..bodies.decoded_body import decoded
from ..bodies.peeked_body import PeekedBody, peek
from .object_ids import (
    KINDS,
    MAKE_FILES,
    TAKEN,
    calls_in_query,
    collection_of,
    filters_stored,
    id_in_path,
    ids_in_body,
    ids_in_field,
    ids_made,
    is_reference,
    makes_objects,
    no_such,
)

log = logger(__name__)

ANSWER_BYTES = 1024 * 1024
"""The largest part of an answer that is searched for ids."""
LIST_BYTES = 8 * 1024 * 1024
_EMPTY = b'{"object":"list","data":[]}'
ITEM_BYTES = 64 * 1024
"""The largest event that can announce an item."""
_ITEM = b'"response.output_item.added"'
_MOST_IDS = 1000
_FILTERED = (
    "openai-proxy does not allow a run of an evaluation to select stored answers by filters (objects.owners),"
    " because they may belong to another key: use a file as its source."
)
_UNCLEAR_FORM = (
    "openai-proxy must read which stored objects the fields of this form name (objects.owners), but cannot:"
    " send it uncompressed, with one plain boundary, and with such fields before its files."
)


class ObjectOwners(Protocol):
    """The store of the owners of objects."""

    def find(self, names: Sequence[str]) -> Deferred[dict[str, str]]: ...

    def keep(self, names: Sequence[str], owner: str) -> Deferred[object]: ...

    def forget(self, name: str) -> Deferred[object]: ...


class _Instead:
    """Replaces a body by other bytes."""

    transparent = False

    def __init__(self, data: bytes) -> None:
        self._data = data

    def feed(self, data: bytes) -> bytes:
        return b""

    def finish(self) -> bytes:
        return self._data


class OwnObjects:
    """Record the owners of objects from answers, and refuse other owners' objects as if they did not exist.

    `names` are the owners by `credential_id` (a key, or a group of keys);
    callers not among them may see everything. `allows_unknown` lets objects
    without a recorded owner pass.
    """

    def __init__(self, owners: ObjectOwners, names: Mapping[str, str], allows_unknown: bool) -> None:
        self._owners = owners
        self._names = dict(names)
        self._allows_unknown = allows_unknown

    async def __call__(self, request: ProxyRequest, forward: Forward) -> ProxyResponse:
        exchange, method = request.exchange, request.method
        owner = self._names.get(exchange.credential_id)
        if owner is None or method == b"OPTIONS":
            return await forward(request)
        endpoint = request.endpoint
        in_path = id_in_path(request.target, endpoint)
        used = [] if in_path is None else [in_path]
        calls = set(calls_in_query(request.target) if request.upgrade else ())
        if collection_of(endpoint) in TAKEN:
            calls.update(used)
        used += sorted(calls.difference(used))
        if request.document is not None:
            used += ids_in_body(request.json, endpoint)
            if filters_stored(endpoint, request.json):
                raise EndpointNotAllowed(_FILTERED)
        elif request.body is not None and type(request.body) is not bytes:
            used += await _ids_in_form(request)
        if used:
            await self._check(used, owner, endpoint, calls)
        if method == b"GET" and endpoint in KINDS:
            return await self._filtered(request, owner, forward)
        response = await forward(request)
        if not 200 <= response.status < 300:
            return response
        if (
            method == b"DELETE"
            and in_path is not None
            and endpoint.endswith("{id}")
            and endpoint.count("{id}") == 1
        ):
            self._owners.forget(in_path).addErrback(self._not_kept)
        elif method == b"POST" and collection_of(endpoint) in TAKEN:
            names = [_created(response.headers) if in_path is None else in_path]
            response = await self._kept([name for name in names if name], response, owner)
            if in_path is None:
                response = await self._learnt(response, owner, exchange.streaming)
        elif makes_objects(method, endpoint, request.document):
            response = await self._learnt(response, owner, exchange.streaming)
        return response

    # ---- what a request names

    async def _check(self, names: Sequence[str], owner: str, endpoint: str, calls: Set[str]) -> None:
        """Raise NoSuchObject for objects that belong to others or have no owner; `calls` may have no owner yet."""
        owners = await self._find(names[:_MOST_IDS])
        for at, name in enumerate(names):
            whose = owners.get(name) if at < _MOST_IDS else ""
            if not (self._is_his(whose, owner) or (whose is None and name in calls)):
                raise NoSuchObject(no_such(name, endpoint))

    def _is_his(self, whose: str | None, owner: str) -> bool:
        return whose == owner or (whose is None and self._allows_unknown)

    async def _find(self, names: Sequence[str]) -> dict[str, str]:
        try:
            return await self._owners.find(names)
        except CancelledError:
            raise
        except Exception as error:
            log.debug("the owners of stored objects cannot be looked up: {reason}", reason=str(error))
            raise OwnersUnavailable from None

    # ---- what an answer says

    async def _filtered(self, request: ProxyRequest, owner: str, forward: Forward) -> ProxyResponse:
        response = await forward(request.evolve(headers=ask_identity(request.headers)))
        if response.status != 200:
            return response
        response, body = await peek(decoded(response), LIST_BYTES)
        try:
            own = await self._own_part(response, body, owner, request.endpoint)
            return response.filtered(_Instead(own))
        except BaseException:
            response.body.discard()
            raise

    async def _own_part(self, response: ProxyResponse, body: bytes, owner: str, endpoint: str) -> bytes:
        listed = ids_listed(body) if _is_whole(response) else None
        if listed is None:
            return _EMPTY  # what cannot be read is not shown
        owners = await self._find(listed)
        own = changed_list(body, allows=lambda name: self._is_his(owners.get(name), owner))
        if endpoint in MAKE_FILES:
            # not for objects that are shown because they have no recorded owner
            entries = [entry for name, entry in entries_listed(own) if owners.get(name) == owner]
            made = [each for entry in entries for each in ids_made(entry)]
            await self._keep(list(dict.fromkeys(made)), owner)
        return own

    async def _learnt(self, response: ProxyResponse, owner: str, streaming: bool) -> ProxyResponse:
        """Return the response once the owner of the objects that it names is stored."""
        media_type, coding = media_type_and_coding(response.headers)
        if is_event_stream(media_type, streaming):
            response = decoded(response)
            first = _FirstEvent()
            response, _ = await peek(response, ANSWER_BYTES, first)
            names = ids_made(first.data)
            if names:
                response = response.filtered(_Items(lambda made: self._keep_soon(made, owner)))
        else:
            response, body = await peek(response, ANSWER_BYTES)
            plain = maybe_decoded(body, coding, ANSWER_BYTES) if coding else (body, True)
            names = ids_made(plain[0]) if plain is not None else []
        return await self._kept(names, response, owner)

    async def _kept(self, names: Sequence[str], response: ProxyResponse, owner: str) -> ProxyResponse:
        try:
            await self._keep(names, owner)
        except CancelledError:
            response.body.discard()
            raise
        return response

    async def _keep(self, names: Sequence[str], owner: str) -> None:
        """Store the owner of new objects; an earlier record stays."""
        if names:
            try:
                await self._owners.keep(names, owner)
            except CancelledError:
                raise
            except Exception as error:
                self._not_kept(error)

    def _keep_soon(self, names: Sequence[str], owner: str) -> None:
        self._owners.keep(names, owner).addErrback(self._not_kept)

    def _not_kept(self, error: object) -> None:
        reason = getattr(error, "value", error)
        log.warn("the owner of a stored object could not be stored: {reason}", reason=str(reason))


def _is_whole(response: ProxyResponse) -> bool:
    return isinstance(response.body, PeekedBody) and response.body.ended


def _created(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """Return the id at the end of the address of what was created, empty if the answer names none."""
    locations = [value for name, value in headers if name.lower() == b"location"]
    return locations[0].rstrip(b"/").rpartition(b"/")[2].decode("ascii", "replace") if locations else ""


async def _ids_in_form(request: ProxyRequest) -> list[str]:
    """Return the ids of stored objects that the fields of a form name, which must come before its files.

    Raises UnreadableBody for a form that parsers may read differently.
    """
    lines = [value for name, value in request.headers if name.lower() == b"content-type"]
    if not any(line.strip().lower().startswith(b"multipart/") for line in lines):
        return []
    boundary = boundary_of(lines)
    if boundary is None or request.encoded:
        raise UnreadableBody(_UNCLEAR_FORM)
    endpoint = request.endpoint
    form = FormModel(boundary, lambda field: is_reference(field, endpoint), skips_files=True)
    checked: int | None = None

    def inspect(data: bytes) -> bool:
        form.feed(data)
        if not form.readable or (checked is not None and len(form.models) > checked):
            raise UnreadableBody(_UNCLEAR_FORM)
        return form.saw_file or form.seen_bytes >= FIRST_BYTES

    await cast(RequestBody, request.body).inspect(inspect)
    checked = len(form.models)
    return [name for value in form.models for name in ids_in_field(value)]


class _Items:
    """Watches a stream for the items of its response, which later requests may refer to."""

    transparent = True

    def __init__(self, keep: Callable[[Sequence[str]], None]) -> None:
        self._keep = keep
        self._decoder = SSEDecoder(ITEM_BYTES)

    def feed(self, data: bytes) -> bytes:
        for block in self._decoder.feed(data):
            if block.data is not None and _ITEM in block.data:
                names = ids_made(block.data)
                if names:
                    self._keep(names)
        return data

    def finish(self) -> bytes:
        return b""


class _FirstEvent:
    """Searches a stream for its first event with data."""

    def __init__(self) -> None:
        self._decoder = SSEDecoder(ANSWER_BYTES)
        self.data = b""

    def __call__(self, piece: bytes) -> bool:
        if not self.data:
            self.data = next((block.data for block in self._decoder.feed(piece) if block.data), b"")
        return bool(self.data)

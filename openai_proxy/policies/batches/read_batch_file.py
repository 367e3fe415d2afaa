"""Read the input files of batches while they are uploaded.

A summary of the lines is stored under the id that the upstream gives the file,
before the client sees that id. `allow_batches` uses it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Protocol, cast

from twisted.internet.defer import CancelledError, Deferred

from ...exchange.buffered_bytes import TOO_MUCH_BUFFERED, BufferedBytes, Lease
from ...exchange.errors import Overloaded
from ...exchange.messages import Forward, Kind, ProxyRequest, ProxyResponse, RequestBody
from ...logs import logger
from ...wire.body_headers import media_type_and_coding
from ...wire.codings import maybe_decoded
from ...wire.documents import maybe_object
from ...wire.form_model import boundary_of
from ..bodies.peeked_body import peek
from .form import BatchForm
from .input import BatchInput

log = logger(__name__)

ANSWER_BYTES = 64 * 1024
"""A longer answer does not describe one file."""
_LONGEST_ID = 256


class KeepsInputs(Protocol):
    """A store for what was read from input files."""

    def keep(self, name: str, owner: str, contents: BatchInput) -> Deferred[object]: ...


class ReadBatchFile:
    """Store a summary of the input files that the callers in `owners` upload.

    `owners` are by `credential_id` (a key, or a group of keys). Only the line
    that is arriving is held in memory, and it counts in `buffered`.
    """

    def __init__(self, owners: Mapping[str, str], inputs: KeepsInputs, buffered: BufferedBytes) -> None:
        self._owners = dict(owners)
        self._inputs = inputs
        self._buffered = buffered

    def concerns(self, kind: Kind) -> bool:
        return kind.method == b"POST" and kind.named == "files"

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        owner = self._owners.get(request.exchange.credential_id)
        if owner is None or request.method != b"POST" or request.endpoint != "files":
            return forward(request)
        if request.body is None or type(request.body) is bytes or request.encoded:
            return forward(request)
        boundary = boundary_of(value for name, value in request.headers if name.lower() == b"content-type")
        if boundary is None:
            return forward(request)
        return self._read(request, BatchForm(boundary), owner, forward)

    async def _read(
        self, request: ProxyRequest, form: BatchForm, owner: str, forward: Forward
    ) -> ProxyResponse:
        lease = Lease(self._buffered)
        request.exchange.on_end(lease.free)
        held_bytes = 0

        def inspect(data: bytes) -> bool:
            nonlocal held_bytes
            form.feed(data)
            more = form.lines.held_bytes - held_bytes
            if more > 0:
                if not lease.take(more):
                    raise Overloaded(TOO_MUCH_BUFFERED)
                held_bytes += more
            return True

        await cast(RequestBody, request.body).inspect(inspect)
        response = await forward(request)
        if not 200 <= response.status < 300:
            return response
        contents = form.finish()
        return response if contents is None else await self._note(response, owner, contents)

    async def _note(self, response: ProxyResponse, owner: str, contents: BatchInput) -> ProxyResponse:
        """Return the response once the summary is stored under the file id that it names."""
        _, coding = media_type_and_coding(response.headers)
        response, body = await peek(response, ANSWER_BYTES)
        plain = maybe_decoded(body, coding, ANSWER_BYTES) if coding else (body, True)
        document = maybe_object(plain[0]) if plain is not None else None
        name = document.get("id") if document is not None else None
        if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_ID:
            return response
        try:
            await self._inputs.keep(name, owner, contents)
        except CancelledError:
            response.body.discard()
            raise
        except Exception as error:
            log.warn("what a batch's input file asks for could not be stored: {reason}", reason=str(error))
        return response

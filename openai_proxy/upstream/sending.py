"""One request on its way up: in one write, or as an upload with back-pressure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.python.failure import Failure
from twisted.web.iweb import IBodyProducer

from ..exchange.bodies import WholeBody
from .body import Taking, Upload

AT_ONCE_BYTES = 14_000
"""A request up to this size leaves at once, in TCP's first window (RFC 6928): nobody asks how much of it the upstream has."""


class Sending:
    """Sends the requests of one connection, one after the other."""

    __slots__ = ("_taking", "_upload", "write")

    def __init__(self) -> None:
        self.write: Any = None
        """The transport's; set once the connection is ready."""
        self._upload: Upload | None = None
        self._taking: Taking | None = None
        """Set for a request that may not be sent whole yet, or was not when it was looked at last."""

    def begin(
        self, head: bytes, body: IBodyProducer | None, transport: Any, now: float
    ) -> tuple[bytes, bool]:
        """Return what has to be written of a request, and whether the kernel takes all of it at once.

        An upload must be started after that has been written.
        """
        self._taking = self._upload = None
        if type(body) is WholeBody:
            head += body.data
        elif body is not None:
            self._upload = Upload(body, transport)
        if self._upload is None and len(head) <= AT_ONCE_BYTES:
            return head, True
        self._taking = Taking(transport, now)
        return head, False

    def start_upload(self, failed: Callable[[Failure], None]) -> None:
        """Let the body write, if the request has one that still comes; call `failed`, perhaps at once, if it breaks."""
        if self._upload is not None:
            self._upload.start(self._done, failed)

    def _done(self) -> None:
        self._upload = None

    @property
    def is_uploading(self) -> bool:
        return self._upload is not None

    def untaken_for_s(self, now: float) -> float | None:
        """Return for how long the upstream has taken nothing of what it still has to take; None if it has all."""
        taking = self._taking
        if taking is None:
            return None
        if taking.look(now):
            return now - taking.taken_at
        if self._upload is not None:
            return 0.0
        self._taking = None
        return None

    def stop(self, is_connected: bool) -> None:
        """Stop sending, because nobody wants the rest. Idempotent."""
        upload, self._upload = self._upload, None
        if upload is not None:
            upload.stop(connected=is_connected)

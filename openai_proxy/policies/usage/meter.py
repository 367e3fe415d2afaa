"""The usage that a response reports, read from its bytes as they pass.

Without decoding the whole: a `"usage"` key cannot hide in a string, where
its quotes are escaped. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...exchange.usage import Usage
from ...wire.codings import maybe_decoder
from ...wire.decoders import CodingError, Decoder
from .answer_labels import AnswerLabels
from .objects import BYTES_PER_TOKEN, maybe_usage
from .scanner import UsageScanner
from .text_meter import TextMeter

_DECODE_STEP_BYTES = 64 * 1024
_DECODE_LIMIT_BYTES = 64 * 1024 * 1024
"""The most of a compressed body that is looked at."""
_UNREAD_BYTES = 24 * 1024
_SAMPLE_BYTES = 4096
"""Of so much of a stream the number of its events is reckoned that nobody has asked for."""


class UsageMeter:
    """What passes of one response: its reported usage, and its text for an estimate.

    `coding` is the body's content coding, decoded here; of one that is not
    known only the size is known. Bytes are
    searched late, in pieces of up to 24 KiB, `labels` see them then, and text is not metered at all
    after a reported usage: nearly every body ends with one. `flush` before
    asking.
    """

    __slots__ = (
        "_blind_bytes",
        "_decoder",
        "_deepest",
        "_events",
        "_found",
        "_labels",
        "_left",
        "_looked_at",
        "_plain",
        "_scanner",
        "_tell",
        "_text",
        "_unread",
        "_unread_bytes",
    )

    def __init__(
        self,
        found: Callable[[Usage], None],
        coding: bytes = b"",
        deltas: bool = False,
        labels: AnswerLabels | None = None,
    ) -> None:
        self._tell = found
        self._labels = labels
        self._found = False
        self._deepest = 2 if deltas else 1
        self._scanner = UsageScanner(self._deepest)
        self._text = TextMeter(deltas)
        self._unread: list[bytes] = []
        self._unread_bytes = 0
        self._events = self._looked_at = 0
        """`_events`: events with text, counted in what was read and in the first `_looked_at` of the unread pieces."""
        self._plain = not coding
        self._decoder: Decoder | None = maybe_decoder(coding) if coding else None
        self._left = _DECODE_LIMIT_BYTES
        self._blind_bytes: int | None = None
        if coding and self._decoder is None:
            self._blind_bytes = 0

    def look(self, data: bytes) -> bytes:
        """Take the bytes that pass, as they came, and return them."""
        if self._plain:
            self._unread.append(data)
            self._unread_bytes += len(data)
            if self._unread_bytes > _UNREAD_BYTES:
                self._read_on()
        elif self._blind_bytes is not None:
            self._blind_bytes += len(data)
        elif self._left > 0:
            self._look_inside(data)
        return data

    def take_usage(self, usage: dict[str, Any], behind: bytes) -> None:
        """Take a usage object that whoever passes the body has read; `behind` is what follows it and was not read."""
        if self._labels is not None:
            self._labels.feed(b"".join(self._unread))
        read = maybe_usage(usage)
        if read is not None:
            self._scanner = UsageScanner(self._deepest)
            self._unread = [behind]
            self._unread_bytes = len(behind)
            self._looked_at = 0
            self._note(read)

    def _read(self, data: bytes) -> None:
        self._unread.append(data)
        self._unread_bytes += len(data)
        if self._unread_bytes > _UNREAD_BYTES:
            self._read_on()

    def output_events(self) -> int:
        """Return the number of events with text of the model that have passed: exact if it is called often, else an estimate.

        Costs a look at what has come since the last time, at most 24 KiB.
        """
        for data in self._unread[self._looked_at :]:
            self._events += self._text.events(data)
        self._looked_at = len(self._unread)
        return self._events

    def _read_on(self) -> None:
        unseen = b"".join(self._unread[self._looked_at :])
        sample = unseen[:_SAMPLE_BYTES]
        if sample:
            self._events += round(len(unseen) * sample.count(b"data:") / len(sample))
        self._read_waiting()

    def _note(self, usage: Usage) -> None:
        self._found = True
        self._tell(usage)

    def flush(self) -> None:
        """Read what has passed so far: a usage in it is reported now."""
        self._read_waiting()
        if self._labels is not None:
            self._labels.finish()
        usage = self._scanner.settle()
        if usage is not None:
            self._note(usage)

    def _read_waiting(self) -> None:
        unread, self._unread = self._unread, []
        self._unread_bytes = self._looked_at = 0
        if unread:
            data = b"".join(unread)
            if self._labels is not None:
                self._labels.feed(data)
            usage = self._scanner.feed(data)
            if usage is not None:
                self._note(usage)
            if not self._found:
                self._text.feed(data)

    def _look_inside(self, data: bytes) -> None:
        decoder = self._decoder
        if decoder is None:
            return
        decoder.put(data)
        try:
            while self._left > 0 and (plain := decoder.next_piece(_DECODE_STEP_BYTES)):
                self._left -= len(plain)
                self._read(plain)
        except CodingError:
            self._left = 0
        if self._left <= 0:
            self._decoder = None

    @property
    def estimated_output_tokens(self) -> int:
        """A quarter of the bytes of the text that passed, rounded up; of no use once a usage was found."""
        self.flush()
        size_bytes = self._text.size_bytes if self._blind_bytes is None else self._blind_bytes
        return -(-size_bytes // BYTES_PER_TOKEN)

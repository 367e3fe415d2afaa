"""Body filters that read the usage of a response as it passes. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ...exchange.usage import Usage
from ...wire.documents import maybe_object
from ...wire.sse import SSEBlock, SSEDecoder
from .answer_labels import AnswerLabels, Note, note_document
from .meter import UsageMeter
from .objects import usage_of_document
from .scanner import NO_USAGE, SOME_USAGE, USAGE

_content = re.compile(rb'"(?:delta|text)"[ \t\r\n]*:(?![ \t\r\n]*\{[ \t\r\n]*\})')
"""What a choice says; the delta of one that says nothing is empty."""

EVENT_LIMIT_BYTES = 16 * 1024
"""The hidden chunk is far smaller; a larger event passes on before it is whole."""
_SHORT_BYTES = 4096
"""A longer beginning of an event is left to the decoder, not joined to each next read."""


class WatchUsage:
    """Let all bytes pass and look at them."""

    __slots__ = ("_meter", "feed")

    transparent = True

    feed: Callable[[bytes], bytes]

    def __init__(self, meter: UsageMeter) -> None:
        self._meter = meter
        self.feed = meter.look  # the very same: a call less for each event

    def finish(self) -> bytes:
        self._meter.flush()
        return b""


class ReadUsageWhole:
    """Let a short JSON document pass, and read it whole if it comes in one piece.

    Most answers do: one decoding then takes a third of what the search in
    pieces takes. A document in several pieces is left to a UsageMeter.
    """

    transparent = True

    __slots__ = ("_data", "_found", "_length", "_meter", "_note", "_wants_model")

    def __init__(self, found: Callable[[Usage], None], length: int, wants_model: bool, note: Note) -> None:
        self._found = found
        self._wants_model = wants_model
        self._note = note
        self._length = length
        self._meter: UsageMeter | None = None
        self._data = b""

    def feed(self, data: bytes) -> bytes:
        if self._meter is not None:
            self._meter.look(data)
        elif len(data) == self._length:
            usage = usage_of_document(data)
            note_document(data, self._wants_model, self._note)
            if usage is not None:
                self._found(usage)
            else:
                self._data = data
        else:
            self._meter = UsageMeter(self._found, labels=AnswerLabels(False, self._wants_model, self._note))
            self._meter.look(data)
        return data

    def finish(self) -> bytes:
        self.flush()
        return b""

    def flush(self) -> None:
        """As UsageMeter's."""
        if self._meter is not None:
            self._meter.flush()

    @property
    def estimated_output_tokens(self) -> int:
        """As UsageMeter's."""
        if self._meter is None:
            self._meter = UsageMeter(self._found)
            self._meter.look(self._data)
        return self._meter.estimated_output_tokens


class HideUsage:
    """Drop the extra chunk of a stream that has the usage and no choice.

    For streams whose client did not ask for it. Every other byte passes,
    events as soon as they are whole; the `"usage": null` that OpenAI puts
    into the other chunks stays, as clients know to ignore it.
    """

    __slots__ = ("_begun", "_between", "_decoder", "_hidden", "_look", "_meter")

    transparent = False

    def __init__(self, meter: UsageMeter) -> None:
        self._meter = meter
        self._decoder = SSEDecoder(EVENT_LIMIT_BYTES)
        self._look = meter.look
        self._hidden = False
        """The block before was dropped."""
        self._between = False
        """The stream has begun, and what comes next begins a block."""
        self._begun = b""
        """The beginning of a block that was not fed to the decoder."""

    def feed(self, data: bytes) -> bytes:
        self._look(data)
        if self._begun:
            data, self._begun = self._begun + data, b""
        if (
            self._between and data[-2:] == b"\n\n" and b"\r" not in data and SOME_USAGE.search(data) is None
        ):  # nearly always; what follows would find the same
            self._hidden = False
            return data
        if b"\r" in data or not self._decoder.skip(data):
            return self._feed(data)
        passed, at = self._without_usage_chunk(data)
        rest = data[at:]
        if at:
            self._hidden = False
            self._between = True
        if not rest:
            return passed
        if self._between and rest.startswith(b"data: ") and len(rest) <= _SHORT_BYTES and b"\n\n" not in rest:
            self._begun = rest
            return passed
        return passed + self._feed(rest)

    def _without_usage_chunk(self, data: bytes) -> tuple[bytes, int]:
        """Return what passes of the first whole blocks of `data`, which begins a block, and their size.

        As if the blocks were taken apart, but found at a glance; the size is
        that of the blocks that could be judged so, possibly 0. A key cannot be
        spread over several lines of data. `data` has no CR.
        """
        whole = data.rfind(b"\n\n") + 2
        if whole < 2:
            return b"", 0
        last = data.rfind(USAGE, 0, whole)
        if last < 0:
            return data[:whole], whole
        before = data.rfind(b"\n\n", 0, last)
        start = before + 2 if before >= 0 else 0
        # OpenAI puts `"usage":null` into every other chunk.
        if SOME_USAGE.search(data, 0, start) is None:
            end = data.find(b"\n\n", last) + 2
            if data.startswith(NO_USAGE, last) and data.find(USAGE, start) == last:
                return data[:whole], whole
            block = data[start:end]
            if block.startswith(b"data: ") and block.find(b"\n") == len(block) - 2:
                usage = maybe_usage_chunk(block[6:])
                if usage is None:
                    return data[:whole], whole
                self._meter.take_usage(usage, data[end:])
                return data[:start] + data[end:whole], whole
            return data[:start], start
        # Otherwise whole blocks pass if each event is one line that says something.
        blocks = data[:whole]
        events = blocks.count(b"\n\n")
        if blocks.count(b"\n") != 2 * events or len(_content.findall(blocks)) != events:
            return b"", 0
        return blocks, whole

    def _feed(self, data: bytes) -> bytes:
        passed = self._pass(self._decoder.feed(data))
        self._between = self._decoder.at_boundary
        return passed

    def finish(self) -> bytes:
        self._meter.flush()
        if self._between and not self._begun:
            return b""  # nothing is held
        begun, self._begun = self._begun, b""
        return self._pass([*self._decoder.feed(begun), *self._decoder.finish()])

    def _pass(self, blocks: list[SSEBlock]) -> bytes:
        passed = []
        for block in blocks:
            self._hidden = self._hidden if block.continued else maybe_usage_chunk(block.data) is not None
            if not self._hidden:
                passed.append(block.raw)
        return b"".join(passed)


def maybe_usage_chunk(data: bytes | None) -> dict[str, Any] | None:
    """Return the usage object of an event's data that has it and says nothing else, else None.

    The list of choices is empty at OpenAI; others leave it out or write
    null, and LiteLLM gives it a choice with nothing in it. An error is no such chunk.
    """
    if data is None or USAGE not in data or _content.search(data):
        return None
    chunk = maybe_object(data)
    if chunk is None or chunk.get("error") or not _says_nothing(chunk.get("choices") or []):
        return None
    usage = chunk.get("usage")
    return usage if isinstance(usage, dict) else None


def _says_nothing(choices: Any) -> bool:
    return isinstance(choices, list) and all(
        isinstance(choice, dict) and not any(value for name, value in choice.items() if name != "index")
        for choice in choices
    )

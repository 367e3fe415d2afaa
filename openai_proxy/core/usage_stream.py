"""Body filters that read the usage of a response as it passes. Pure."""

from __future__ import annotations

import re

from .documents import maybe_object
from .sse import SSEBlock, SSEDecoder
from .usage import UsageMeter

_no_choices = re.compile(rb'"choices"[ \t\r\n]*:[ \t\r\n]*\[[ \t\r\n]*\]')

EVENT_LIMIT_BYTES = 16 * 1024
"""The hidden chunk is far smaller; a larger event passes on before it is whole."""


class WatchUsage:
    """Let all bytes pass and look at them."""

    transparent = True

    def __init__(self, meter: UsageMeter) -> None:
        self._meter = meter

    def feed(self, data: bytes) -> bytes:
        self._meter.look(data)
        return data

    def finish(self) -> bytes:
        return b""


class HideUsage:
    """Drop the extra chunk of a stream that has the usage and no choice.

    For streams whose client did not ask for it. Every other byte passes,
    events as soon as they are whole; the `"usage": null` that OpenAI puts
    into the other chunks stays, as clients know to ignore it.
    """

    transparent = False

    def __init__(self, meter: UsageMeter) -> None:
        self._meter = meter
        self._decoder = SSEDecoder(EVENT_LIMIT_BYTES)
        self._hidden = False
        """The block before was dropped."""

    def feed(self, data: bytes) -> bytes:
        self._meter.look(data)
        return self._pass(self._decoder.feed(data))

    def finish(self) -> bytes:
        return self._pass(self._decoder.finish())

    def _pass(self, blocks: list[SSEBlock]) -> bytes:
        passed = []
        for block in blocks:
            self._hidden = self._hidden if block.continued else is_usage_chunk(block.data)
            if not self._hidden:
                passed.append(block.raw)
        return b"".join(passed)


def is_usage_chunk(data: bytes | None) -> bool:
    """Whether an event's data is a chunk with a usage object and an empty list of choices."""
    if data is None or b'"usage"' not in data or not _no_choices.search(data):
        return False
    chunk = maybe_object(data)
    return chunk is not None and chunk.get("choices") == [] and isinstance(chunk.get("usage"), dict)

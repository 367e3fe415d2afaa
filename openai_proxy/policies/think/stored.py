"""Filters for stored answers, which name the model whose rule applies.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ...exchange.buffered_bytes import Lease
from ...wire.documents import maybe_object
from ...wire.sse import SSEBlock, SSEDecoder
from .filters import EVENT_LIMIT_BYTES, ThinkStreamFilter, model_of
from .splitter import ThinkRule

_starting_after = re.compile(rb"(?:^|&)starting_after=([0-9]{1,15})(?=&|$)")


def without_starting_after(target: bytes) -> tuple[bytes, int | None]:
    """Return a target that asks for the whole stream, and the number of the last event that the client has.

    Thoughts can only be found from the beginning of a text. The number is None
    if the target asks for all.
    """
    path, mark, query = target.partition(b"?")
    found = _starting_after.findall(query)
    if not found:
        return target, None
    rest = _starting_after.sub(b"", query).lstrip(b"&")
    return path + (mark + rest if rest else b""), int(found[-1])


class StoredStreamFilter:
    """Remove the thoughts from a stream by the rule for the model that its first event names.

    `rule_of` returns the rule. Events up to the number `after` are left out of
    the output. Each part that holds events gets one of `leases`.
    """

    transparent = False

    def __init__(
        self,
        rule_of: Callable[[str], ThinkRule],
        after: int | None = None,
        leases: Callable[[], Lease | None] = lambda: None,
    ) -> None:
        self._rule_of = rule_of
        self._lease = leases()
        self._decoder: SSEDecoder | None = SSEDecoder(EVENT_LIMIT_BYTES, self._lease)
        self._filter: ThinkStreamFilter | None = None
        self._skip = SkipEvents(after, leases()) if after is not None else None

    def feed(self, data: bytes) -> bytes:
        return self._skipped(self._fed(data))

    def finish(self) -> bytes:
        out = b""
        if self._decoder is not None:
            out = self._choose(self._decoder.finish())
        if self._filter is not None:
            out += self._filter.finish()
        return self._skipped(out) + (self._skip.finish() if self._skip is not None else b"")

    def _skipped(self, data: bytes) -> bytes:
        return self._skip.feed(data) if self._skip is not None else data

    def _fed(self, data: bytes) -> bytes:
        if self._decoder is not None:
            return self._choose(self._decoder.feed(data))
        return self._filter.feed(data) if self._filter is not None else data

    def _choose(self, blocks: list[SSEBlock]) -> bytes:
        """Pass blocks on up to the first event, which decides the rule; filter it and all that follows."""
        for number, block in enumerate(blocks):
            event = maybe_object(block.data) if block.data is not None else None
            if event is None:
                continue
            response = event.get("response")
            rule = self._rule_of(model_of(response if isinstance(response, dict) else event))
            decoder, self._decoder = self._decoder, None
            assert decoder is not None
            rest = [each.raw for each in blocks[number:]] + [each.raw for each in decoder.finish()]
            if rule.active:
                self._filter = ThinkStreamFilter(rule, lease=self._lease)
            passed = b"".join([each.raw for each in blocks[:number]])
            return passed + self._fed(b"".join(rest))
        return b"".join([block.raw for block in blocks])


class SkipEvents:
    """Drop the events of a stream whose sequence numbers are not above `after`."""

    transparent = False

    def __init__(self, after: int, lease: Lease | None = None) -> None:
        self._after = after
        self._decoder = SSEDecoder(EVENT_LIMIT_BYTES, lease)
        self._skipped = False
        """Whether the block before this one was dropped."""

    def feed(self, data: bytes) -> bytes:
        return self._left(self._decoder.feed(data))

    def finish(self) -> bytes:
        return self._left(self._decoder.finish())

    def _left(self, blocks: list[SSEBlock]) -> bytes:
        out: list[bytes] = []
        for block in blocks:
            if not (self._skipped and block.continued):
                self._skipped = self._is_old(block)
                if not self._skipped:
                    out.append(block.raw)
        return b"".join(out)

    def _is_old(self, block: SSEBlock) -> bool:
        event = maybe_object(block.data) if block.data is not None else None
        number = event.get("sequence_number") if event is not None else None
        return isinstance(number, int) and number <= self._after

"""The usage that a response reports, read from its bytes as they pass.

Without decoding the whole: a `"usage"` key can not hide in a string, where
its quotes are escaped. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

from .codings import CodingError, Decoder, maybe_decoder
from .exchange import Usage
from .json_members import value_end
from .text_meter import TextMeter
from .usage import BYTES_PER_TOKEN, maybe_usage

_OBJECT_LIMIT_BYTES = 8192
_DECODE_STEP_BYTES = 64 * 1024
_DECODE_LIMIT_BYTES = 64 * 1024 * 1024
"""So much of a compressed body is looked at."""
_CARRY_BYTES = 64
"""Longer than a key with some space around its colon."""
_UNREAD_BYTES = 64 * 1024
USAGE, NO_USAGE = b'"usage"', b'"usage":null'
_usage_key = re.compile(rb'"usage"[ \t\r\n]*:[ \t\r\n]*\{')


class UsageScanner:
    """Find the usage objects in a JSON document or an event stream as it passes.

    Searched from the end, where the one stands that counts. Holds at most
    8 KiB.
    """

    def __init__(self) -> None:
        self._carry = b""

    def feed(self, data: bytes) -> Usage | None:
        """Return the last usage that `data` completes."""
        data = self._carry + data
        keep_from = max(len(data) - _CARRY_BYTES, 0)
        usage: Usage | None = None
        usage_at = 0
        at = data.rfind(USAGE)
        if data.startswith(NO_USAGE, at) and data.count(USAGE) == data.count(NO_USAGE):
            at = -1  # OpenAI puts it into every chunk but the last
        while at >= 0:
            key = _usage_key.match(data, at)
            if key is not None:
                start = key.end() - 1
                try:
                    end = value_end(data, start)
                except ValueError:  # the rest is still to come, of this and so of all that is inside
                    if len(data) - start <= _OBJECT_LIMIT_BYTES:
                        usage, keep_from = None, at
                else:
                    if usage is None or end > usage_at:
                        usage = _maybe_usage(data[start:end])
                        usage_at, keep_from = at, max(keep_from, end)
            # Before a usage, only for one that it is inside of: in the same event.
            from_at = max(data.rfind(b"\n\n", 0, at), 0) if usage is not None else 0
            at = data.rfind(USAGE, from_at, at)
        self._carry = data[keep_from:]
        return usage


def _maybe_usage(raw: bytes) -> Usage | None:
    try:
        return maybe_usage(orjson.loads(raw))
    except orjson.JSONDecodeError:
        return None


class UsageMeter:
    """What passes of one response: its reported usage, and its text for an estimate.

    `coding` is the body's content coding, decoded here; of one that is not
    known only the size is known. Bytes are
    searched late, in pieces of up to 64 KiB, and text is not metered at all
    behind a reported usage: nearly every body ends with one. `flush` before
    asking.
    """

    def __init__(
        self,
        found: Callable[[Usage], None],
        coding: bytes = b"",
        deltas: bool = False,
    ) -> None:
        self._tell = found
        self._found = False
        self._scanner = UsageScanner()
        self._text = TextMeter(deltas)
        self._unread: list[bytes] = []
        self._unread_bytes = 0
        self._plain = not coding
        self._decoder: Decoder | None = maybe_decoder(coding) if coding else None
        self._left = _DECODE_LIMIT_BYTES
        self._blind_bytes: int | None = None
        if coding and self._decoder is None:
            self._blind_bytes = 0

    def look(self, data: bytes) -> None:
        """Take the bytes that pass, as they came."""
        if self._plain:
            self._unread.append(data)
            self._unread_bytes += len(data)
            if self._unread_bytes > _UNREAD_BYTES:
                self.flush()
        elif self._blind_bytes is not None:
            self._blind_bytes += len(data)
        elif self._left > 0:
            self._look_inside(data)

    def told(self, usage: dict[str, Any], behind: bytes) -> None:
        """Take a usage object that whoever passes the body has read; `behind` it is what it has not."""
        read = maybe_usage(usage)
        if read is not None:
            self._scanner = UsageScanner()
            self._unread = [behind]
            self._unread_bytes = len(behind)
            self._note(read)

    def _read(self, data: bytes) -> None:
        self._unread.append(data)
        self._unread_bytes += len(data)
        if self._unread_bytes > _UNREAD_BYTES:
            self.flush()

    def _note(self, usage: Usage) -> None:
        self._found = True
        self._tell(usage)

    def flush(self) -> None:
        """Read what has passed so far: a usage in it is told now."""
        unread, self._unread = self._unread, []
        self._unread_bytes = 0
        if unread:
            data = b"".join(unread)
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

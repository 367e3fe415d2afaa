"""The usage that an answer tells, found in its bytes as they pass. Pure."""

from __future__ import annotations

import re

import orjson

from ...exchange.usage import Usage
from .objects import maybe_usage

USAGE, NO_USAGE = b'"usage"', b'"usage":null'
_OBJECT_LIMIT_BYTES = 8192
_CARRY_BYTES = 64
"""Longer than a key with some space around its colon."""
SOME_USAGE = re.compile(rb'"usage"(?!:null)')
"""OpenAI puts `"usage":null` into every chunk but the last."""
_usage_key = re.compile(rb'"usage"[ \t\r\n]{0,20}(?::[ \t\r\n]{0,20}(\{)?)?')
_mark = re.compile(rb'["{}\[\]]')
_string_rest = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_space = re.compile(rb"[ \t\r\n]*")
_DATA = b"data:"
_next_line = re.compile(rb"data:[ \t]{0,64}")
_line_end = re.compile(rb"(?:\r\n|\r|\n)data:")
"""Between two lines of one event, where each is a field `data` of its own."""


class UsageScanner:
    """Find the usage in a JSON document or an event stream as it passes.

    What counts is a member of the document or event itself; with `deepest` 2
    also of an object in it, as `response.usage` in streams of the Responses
    API. Anything deeper is a client's tool or text that an upstream
    repeats. Without decoding the whole: depth
    is counted from the first `"usage": {` to the end of its document or
    event, where what encloses it is known.

    States: searching (a byte search for the first key), counting (from there
    to the end of the document or event). O(n), however the bytes are cut;
    holds at most 8 KiB.
    """

    __slots__ = (
        "_best",
        "_carry",
        "_closed",
        "_counting",
        "_deepest",
        "_depth",
        "_in_string",
        "_object",
        "_object_bytes",
        "_object_depth",
    )

    def __init__(self, deepest: int = 1) -> None:
        self._deepest = deepest
        self._carry = b""
        self._forget()

    def _forget(self) -> None:
        self._counting = False
        self._in_string = False
        self._depth = 0
        """Containers opened since the object around the first key; negative when that was left."""
        self._object: list[bytes] | None = None
        """What has passed of a usage object that is not closed yet."""
        self._object_bytes = 0
        self._object_depth = 0
        self._best: tuple[Usage, int] | None = None
        """The last usage of those that are furthest outside, and the depth of the object that has it."""
        self._closed = False
        """A container was just closed: whether it was the outermost, what follows tells."""

    def feed(self, data: bytes) -> Usage | None:
        """Return the last usage whose document or event is known to have ended with `data`."""
        data = self._carry + data if self._carry else data
        self._carry = b""
        usage: Usage | None = None
        at = 0
        while at < len(data):
            if not self._counting:
                found = self._first_key(data, at)
                if found < 0:
                    break
                self._counting, at = True, found
            at, ended = self._count(data, at)
            if ended is not None and (usage is None or _counts(ended)):
                usage = ended  # zeros after a usage do not make it nothing
        return usage

    def settle(self) -> Usage | None:
        """Return the usage that `feed` would, if nothing more came: a document may end with its last bracket."""
        if not (self._closed and self._best is not None):
            return None
        ended = self._result()
        self._forget()
        return ended

    def _first_key(self, data: bytes, at: int) -> int:
        """Return where the first usage object's key is; -1, with a possible beginning of one kept, for none."""
        # CPython searches backwards at twice the speed, and a stream that nobody asked for its usage has none.
        for found in SOME_USAGE.finditer(data, at) if data.rfind(USAGE, at) >= 0 else ():
            start = found.start()
            key = _usage_key.match(data, start)
            if key is not None and key[1]:
                return start
            if len(data) - start < _CARRY_BYTES and (key is None or key.end() == len(data)):
                self._carry = data[start:]
                return -1
        quote = data.rfind(b'"', max(at, len(data) - len(USAGE) + 1))
        if quote >= 0 and USAGE.startswith(data[quote:]):
            self._carry = data[quote:]
        return -1

    def _count(self, data: bytes, at: int) -> tuple[int, Usage | None]:
        """Count brackets from `at`; return how far, and the usage if its document or event ends there."""
        begun = at
        """Where the part of a usage object begins that is in `data`."""
        while at < len(data):
            if self._in_string:
                at = self._skip_string(data, at)
                if self._in_string:
                    break
                continue
            if self._closed:
                at = _space.match(data, at).end()  # type: ignore[union-attr]  # matches anything
                line = _next_line.match(data, at)
                if line is None and _DATA.startswith(data[at : at + len(_DATA)]):
                    break
                if line is not None:
                    if line.end() == len(data):
                        break
                    if data[line.end()] in b",}]":  # the next line of this event: none begins so
                        at = line.end()
                self._closed = False
                if data[at] not in b",}]":
                    ended = self._result()
                    self._forget()
                    return at, ended
            found = _mark.search(data, at)
            if found is None:
                at = len(data)
                break
            at = found.end()
            mark = found[0]
            if mark == b'"':
                key = self._key(data, at - 1)
                if key is None:
                    at -= 1
                    break
                if key and self._object is None:
                    begun, self._object, self._object_depth = key - 1, [], self._depth
                    self._object_bytes = 0
                self._in_string = not key
                if key:
                    self._depth += 1
                    at = key
            elif mark in b"{[":
                self._depth += 1
            else:
                self._depth -= 1
                self._closed = True
                if self._object is not None and self._depth == self._object_depth:
                    self._note(b"".join([*self._object, data[begun:at]]))
                    self._object = None
        if self._object is not None:
            self._object.append(data[begun:at])
            self._object_bytes += at - begun
            if self._object_bytes > _OBJECT_LIMIT_BYTES:
                self._object = None
        if at < len(data):
            self._carry = data[at:]
        return len(data), None

    def _key(self, data: bytes, at: int) -> int | None:
        """Return the offset after `"usage": {` at `at`; 0 for another string, None if more must come."""
        key = _usage_key.match(data, at)
        if key is not None and key[1]:
            return key.end()
        if len(data) - at < _CARRY_BYTES and (
            USAGE.startswith(data[at:]) or (key is not None and key.end() == len(data))
        ):
            return None
        return 0

    def _note(self, raw: bytes) -> None:
        """Take a usage object that is closed: it counts unless one before it was further outside."""
        if self._best is not None and self._best[1] < self._object_depth:
            return
        try:
            usage = maybe_usage(orjson.loads(_line_end.sub(b"\n", raw)))
        except orjson.JSONDecodeError:
            return
        if usage is not None and (self._best is None or _counts(usage)):
            self._best = usage, self._object_depth

    def _result(self) -> Usage | None:
        """Return the usage that was found, if the outermost container closes around it."""
        if self._best is None:
            return None
        usage, depth = self._best
        return usage if depth - self._depth <= self._deepest else None

    def _skip_string(self, data: bytes, at: int) -> int:
        """Return the offset after the string that is open at `at`; still open, where it must be continued."""
        end: int = _string_rest.match(data, at).end()  # type: ignore[union-attr]  # matches anything
        if data[end : end + 1] != b'"':
            return end  # all of it, or all but the first half of an escape
        self._in_string = False
        return end + 1


def _counts(usage: Usage) -> bool:
    """Whether a usage has anything in it."""
    return bool(usage.total_tokens or usage.kinds)

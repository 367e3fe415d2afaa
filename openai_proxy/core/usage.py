"""Model tokens used, as responses report them or as they are estimated.

Reads the bytes of a response as they pass, without decoding the whole: a
`"usage"` key can not hide in a string, where its quotes are escaped. Pure.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import Any

import orjson

from .documents import maybe_object
from .exchange import Usage
from .json_members import value_end

_MOST_TOKENS = 1 << 53
_OBJECT_LIMIT_BYTES = 8192
_INFLATE_STEP_BYTES = 256 * 1024
_INFLATE_LIMIT_BYTES = 64 * 1024 * 1024
"""So much of a compressed body is looked at."""
_CARRY_BYTES = 64
"""Longer than a key with some space around its colon."""
_UNREAD_BYTES = 64 * 1024
_BYTES_PER_TOKEN = 4
_MEDIA_TOKENS = 256
"""What an image, a sound or a file in a prompt counts in an estimate."""

_USAGE = b'"usage":'
_usage_key = re.compile(rb'"usage"[ \t\r\n]*:[ \t\r\n]*\{')
_text_key = re.compile(
    rb'"(?:content|reasoning_content|reasoning|refusal|arguments|text)"[ \t\r\n]*:[ \t\r\n]*"'
)
_delta_key = re.compile(rb'"delta"[ \t\r\n]*:[ \t\r\n]*"')
_PLAIN_DELTA = b'"delta":{"content":"'
_FEWEST_PLAIN = 4


def _count(value: Any) -> int | None:
    if type(value) is int and 0 <= value <= _MOST_TOKENS:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST_TOKENS:
        return None
    return int(value)


def _detail(details: Any, name: str) -> int:
    return (_count(details.get(name)) or 0) if isinstance(details, dict) else 0


def maybe_usage(usage: Any) -> Usage | None:
    """Read a `usage` object of any of OpenAI's APIs; None where it counts no tokens."""
    if not isinstance(usage, dict):
        return None
    get = usage.get
    given = get("prompt_tokens")
    if given is None:
        given = get("input_tokens")
    made = get("completion_tokens")
    if made is None:
        made = get("output_tokens")
    if type(given) is not int or not 0 <= given <= _MOST_TOKENS:
        given = _count(given)
    if type(made) is not int or not 0 <= made <= _MOST_TOKENS:
        made = _count(made)
    if given is None and made is None:
        total = _count(get("total_tokens"))
        return None if total is None else Usage(input_tokens=total)
    read = get("prompt_tokens_details") or get("input_tokens_details")
    written = get("completion_tokens_details") or get("output_tokens_details")
    if not read and not written:
        return Usage(given or 0, made or 0)
    return Usage(given or 0, made or 0, _detail(read, "cached_tokens"), _detail(written, "reasoning_tokens"))


def usage_of_document(data: bytes) -> Usage | None:
    """Read the usage of a whole JSON document; None where it is none, or has none.

    Nearly always it is one of the last members, and is read without
    decoding what the model wrote.
    """
    at = data.rfind(_USAGE)
    if at >= 0:
        last = data.rfind(b"}")
        end = data.rfind(b"}", at, last) + 1
        # Nothing but the document is closed behind it, so it is the document's own.
        if end and data.find(b"]", end) < 0:
            try:
                return maybe_usage(orjson.loads(data[at + len(_USAGE) : end]))
            except orjson.JSONDecodeError:
                pass
    document = maybe_object(data)
    return None if document is None else maybe_usage(document.get("usage"))


class UsageScanner:
    """Find the usage objects in a JSON document or an event stream as it passes.

    Calls `found` with each; the last one counts. Holds at most 8 KiB.
    """

    def __init__(self, found: Callable[[Usage], None]) -> None:
        self._found = found
        self._carry = b""

    def feed(self, data: bytes) -> None:
        data = self._carry + data
        if data.find(b'"usage"') < 0:  # nearly always; a fifth of the expression's time
            self._carry = data[-_CARRY_BYTES:]
            return
        at = 0
        while match := _usage_key.search(data, at):
            start = match.end() - 1
            try:
                at = value_end(data, start)
            except ValueError:  # the rest is still to come
                if len(data) - start <= _OBJECT_LIMIT_BYTES:
                    self._carry = data[match.start() :]
                    return
                at = match.end()
                continue
            self._read(data[start:at])
        self._carry = data[max(at, len(data) - _CARRY_BYTES) :]

    def _read(self, raw: bytes) -> None:
        try:
            usage = maybe_usage(orjson.loads(raw))
        except orjson.JSONDecodeError:
            return
        if usage is not None:
            self._found(usage)


class TextMeter:
    """Count the bytes of the texts that a model wrote, as they pass.

    `deltas`: count only the deltas (a stream of the Responses API repeats
    each text whole several times).
    """

    def __init__(self, deltas: bool = False) -> None:
        self.size_bytes = 0
        self._key = _delta_key if deltas else _text_key
        self._carry = b""
        self._inside = False

    def feed(self, data: bytes) -> None:
        data = self._carry + data
        if not self._inside and self._key is _text_key:
            size_bytes, data = _without_plain_deltas(data)
            self.size_bytes += size_bytes
        at = 0
        while True:
            if self._inside:
                end = _closing_quote(data, at)
                if end < 0:
                    cut = len(data) - _odd_backslash(data, at)
                    self.size_bytes += cut - at
                    self._carry = data[cut:]
                    return
                self.size_bytes += end - at
                at = end + 1
                self._inside = False
            match = self._key.search(data, at)
            if match is None:
                self._carry = data[max(at, len(data) - _CARRY_BYTES) :]
                return
            at = match.end()
            self._inside = True


def _without_plain_deltas(data: bytes) -> tuple[int, bytes]:
    """Return the size of the texts that are all of their deltas, and what is left to be searched.

    So are nearly all deltas of nearly all chat streams; this takes a third
    of the search's time. Left are the first and the last events of `data`,
    or all of it, where others are between.
    """
    first, *events = data.split(_PLAIN_DELTA)
    if len(events) < _FEWEST_PLAIN:
        return 0, data
    last = events.pop()
    texts = b"".join([event.partition(b'"}')[0] for event in events])
    if data.count(b'"delta"') != len(events) + 1 + first.count(b'"delta"') + last.count(b'"delta"'):
        return 0, data
    # All quotes must be a text's own, each behind one backslash; and none of them may have been taken for its end.
    quotes = texts.count(b'"')
    if quotes and (quotes != texts.count(b'\\"') or b'\\\\"' in texts):
        return 0, data
    if b"\\" in texts and b'\\"}' in data:
        return 0, data
    return len(texts), first + _PLAIN_DELTA + last


def _closing_quote(data: bytes, start: int) -> int:
    at = data.find(b'"', start)
    while at >= 0 and _odd_backslash(data, start, at):
        at = data.find(b'"', at + 1)
    return at


def _odd_backslash(data: bytes, start: int, end: int | None = None) -> int:
    """Return 1 where an odd number of backslashes ends at `end`, else 0."""
    last = before = (len(data) if end is None else end) - 1
    while before >= start and data[before] == 0x5C:
        before -= 1
    return (last - before) % 2


MaybeUnpack = Callable[[bytes, Callable[[bytes], object]], "Callable[[bytes], object] | None"]


def _unknown(coding: bytes, write: Callable[[bytes], object]) -> None:
    return None


class _Enough(Exception):
    """As much of a compressed body was read as is looked at."""


class UsageMeter:
    """What passes of one response: its reported usage, and its text for an estimate.

    `coding` is the body's content coding: empty, gzip and deflate are
    read, others where `maybe_unpack` knows them: it takes the coding and
    what to write to, and returns what takes the body piece by piece, or
    None. Of a coding that nobody knows only the size is known. Bytes are searched late, in
    pieces of up to 64 KiB, and text is not metered at all behind a reported
    usage: nearly every body ends with one. `flush` before asking.
    """

    def __init__(
        self,
        found: Callable[[Usage], None],
        coding: bytes = b"",
        deltas: bool = False,
        maybe_unpack: MaybeUnpack = _unknown,
    ) -> None:
        self._tell = found
        self._found = False
        self._scanner = UsageScanner(self._note)
        self._text = TextMeter(deltas)
        self._unread: list[bytes] = []
        self._unread_bytes = 0
        self._plain = not coding
        self._unpack: Callable[[bytes], object] | None = None
        self._left = _INFLATE_LIMIT_BYTES
        self._blind_bytes: int | None = None
        if coding in (b"gzip", b"x-gzip", b"deflate"):
            self._inflate = zlib.decompressobj(wbits=47)
            self._unpack = self._look_inside
        elif coding:
            self._unpack = maybe_unpack(coding, self._read_some)
            if self._unpack is None:
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
        elif self._left > 0 and self._unpack is not None:
            try:
                self._unpack(data)
            except Exception:  # enough of it, or broken: each library raises its own class
                self._left = 0

    def _note(self, usage: Usage) -> None:
        self._found = True
        self._tell(usage)

    def _read(self, data: bytes) -> None:
        self._unread.append(data)
        self._unread_bytes += len(data)
        if self._unread_bytes > _UNREAD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Read what has passed so far: a usage in it is told now."""
        unread, self._unread = self._unread, []
        self._unread_bytes = 0
        if unread:
            data = b"".join(unread)
            self._scanner.feed(data)
            if not self._found:
                self._text.feed(data)

    def _look_inside(self, data: bytes) -> None:
        while data:
            plain = self._inflate.decompress(data, _INFLATE_STEP_BYTES)
            data = self._inflate.unconsumed_tail
            self._read_some(plain)

    def _read_some(self, plain: bytes) -> None:
        """Read what a compressed body holds; raises _Enough where that is far more than an answer."""
        if self._left <= 0:
            raise _Enough
        self._left -= len(plain)
        self._read(plain)

    @property
    def estimated_output_tokens(self) -> int:
        """A quarter of the bytes of the text that passed, rounded up; of no use once a usage was found."""
        self.flush()
        size_bytes = self._text.size_bytes if self._blind_bytes is None else self._blind_bytes
        return -(-size_bytes // _BYTES_PER_TOKEN)


_PROMPTS = ("messages", "prompt", "input", "instructions", "system", "tools", "functions")
_MEDIA = frozenset(("image_url", "input_audio", "file", "file_data", "image"))


def estimated_input_tokens(document: dict[str, Any]) -> int:
    """Estimate a prompt: a quarter of its text's bytes, one for each token id, 256 for each medium."""
    size_bytes = tokens = 0
    values = [document[name] for name in _PROMPTS if name in document]
    while values:
        value = values.pop()
        if isinstance(value, str):
            size_bytes += len(value.encode("utf-8", "surrogatepass"))
        elif isinstance(value, list):
            values.extend(value)
        elif isinstance(value, dict):
            for name, member in value.items():
                if name in _MEDIA:
                    tokens += _MEDIA_TOKENS
                else:
                    values.append(member)
        elif isinstance(value, int):
            tokens += 1
    return tokens - (-size_bytes // _BYTES_PER_TOKEN)

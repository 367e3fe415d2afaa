"""The form that uploads a batch's input file, read while it streams by. Pure.

Stricter than `form_model`: a form that different parsers might read differently
is not read at all, and no key with rules may use its file for a batch.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ...wire.form_model import names_in_head
from .input import BatchInput, BatchLines

_LONGEST_HEAD = 8 * 1024
_LONGEST_PURPOSE = 64
_UNCLEAR = "its form can be read in more than one way"
_KNOWN = ("file", "purpose")
_ALIKE = re.compile(r"\W*(?:file|purpose)s?\W*")
"""Names of fields that some parser might take for one of the fields read here."""
_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n]*")
_PLAIN = frozenset((b"binary", b"8bit", b"7bit"))


class BatchForm:
    """Reads a form of POST /files as it comes; O(n), and holds at most a part's head and a line of the file.

    States: before the first part, in a head, in a part, after the last part.
    `_problem` is set once the form cannot be read; from then on it only passes
    through.
    """

    def __init__(self, boundary: bytes) -> None:
        self.lines = BatchLines()
        self._delimiter = b"--" + boundary
        self._buffer = bytearray()
        self._at = 0
        """Offset up to which the buffer has been read."""
        self._step: Callable[[], bool] = self._begin
        self._part = ""
        """Which of the fields read here the current part is, else empty."""
        self._seen: list[str] = []
        self._purpose = b""
        self._problem: str | None = None
        self._whole = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the form."""
        if self._problem is not None:
            return
        self._buffer += data
        while self._problem is None and self._step():
            pass
        del self._buffer[: self._at]
        self._at = 0

    def finish(self) -> BatchInput | None:
        """Return what was read from the file, once the form is whole; None if it is no upload for a batch."""
        if self._problem is not None:
            return BatchInput(problem=self._problem)
        if not self._whole or self._purpose != b"batch" or "file" not in self._seen:
            return None
        return self.lines.finish()

    def _give_up(self) -> bool:
        self._problem = _UNCLEAR
        self._at = len(self._buffer)
        return False

    def _begin(self) -> bool:
        if len(self._buffer) < len(self._delimiter):
            return False
        if not self._buffer.startswith(self._delimiter):
            return self._give_up()
        self._at = len(self._delimiter)
        self._step = self._after_delimiter
        return True

    def _after_delimiter(self) -> bool:
        mark = bytes(self._buffer[self._at : self._at + 2])
        if len(mark) < 2:
            return False
        self._at += 2
        if mark == b"--":
            self._whole = True
            self._step = self._end
        elif mark == b"\r\n":
            self._step = self._read_head
        else:
            return self._give_up()
        return True

    def _end(self) -> bool:
        """Read what follows the last delimiter: only the end of its line is allowed."""
        if bytes(self._buffer[self._at : self._at + 3]) not in (b"", b"\r", b"\r\n"):
            return self._give_up()
        return False

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n", self._at, self._at + _LONGEST_HEAD)
        if end < 0:
            return self._give_up() if len(self._buffer) - self._at >= _LONGEST_HEAD else False
        head, self._at = bytes(self._buffer[self._at : end]), end + 4
        part = self._part_of(head)
        if part is None or self._delimiter in head or (part and part in self._seen):
            return self._give_up()
        self._part = part
        if part:
            self._seen.append(part)
        self._step = self._read_body
        return True

    @staticmethod
    def _part_of(head: bytes) -> str | None:
        """Return which of the fields read here the part is, empty for another one; None if that is ambiguous."""
        fields = []
        for line in head.split(b"\r\n"):
            if _LINE.fullmatch(line) is None:
                return None
            name, _, value = line.partition(b":")
            fields.append((name.lower(), value.strip().lower()))
        kinds = [value.partition(b";")[0].strip() for name, value in fields if name == b"content-disposition"]
        codings = [value for name, value in fields if name == b"content-transfer-encoding"]
        if kinds != [b"form-data"] or not _PLAIN.issuperset(codings):
            return None
        called, is_file = names_in_head(head)
        if len(called) != 1 or b"name*" in head.lower().replace(b"filename*", b""):
            return None
        (field,) = called
        if field not in _KNOWN:
            return None if _ALIKE.fullmatch(field) else ""
        return field if is_file == (field == "file") else None

    def _read_body(self) -> bool:
        buffer, start = self._buffer, self._at
        at = buffer.find(self._delimiter, start)
        if at < 0:
            # keep what may be the beginning of a delimiter, with the line end before it
            self._at = max(start, len(buffer) - len(self._delimiter) - 1)
            self._take(bytes(buffer[start : self._at]))
            return False
        if at - start < 2 or buffer[at - 2 : at] != b"\r\n":
            return self._give_up()
        self._take(bytes(buffer[start : at - 2]))
        self._at = at + len(self._delimiter)
        self._step = self._after_delimiter
        return self._problem is None

    def _take(self, data: bytes) -> None:
        if self._part == "file":
            self.lines.feed(data)
        elif self._part == "purpose":
            self._purpose += data
            if len(self._purpose) > _LONGEST_PURPOSE:
                self._give_up()

"""The `model` of a multipart form (RFC 7578), found while the form streams by. Pure.

If parsers of forms differ, more counts as a field than any of them accepts, so
that no field is overlooked that some server reads as the model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from urllib.parse import unquote_to_bytes

FIRST_BYTES = 64 * 1024
"""The number of first bytes in which the model is searched, unless a rule needs it."""
_LONGEST_HEAD = 8 * 1024
_LONGEST_MODEL = 1024
_NAMES = re.compile(r"\W*models?(?:\W[\W\d]*)?")
_PARAM = re.compile(rb";\s*([^=;\s]+)\s*=\s*(\"(?:[^\"\\]|\\.)*\"|[^;]*)", re.S)
_LOOSE_NAME = re.compile(rb"(?<![\w-])name[*\d]*\s*=\s*[\"']?([^\"';,\s]*)", re.IGNORECASE)
"""A name wherever it stands, for parsers that accept a comma or a space before it."""
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_FORM_TYPE = re.compile(
    rb"(?i:multipart/form-data)(?:[ \t]*;[ \t]*%b[ \t]*=[ \t]*(?:%b|\"[^\"\\]*\"))+[ \t]*;?[ \t]*"
    % (_TOKEN, _TOKEN)
)
_PLAIN_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=? !#$%&*^`|~-]{0,199}[^ ;\"]")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_LINE_END = re.compile(rb"[\r\n]")
_HEAD_END = re.compile(rb"\r?\n\r?\n")


def boundary_of(content_types: Iterable[bytes]) -> bytes | None:
    """Return the boundary in a request's Content-Type lines; None if it is no form, or if parsers may read another
    boundary.

    RFC 2231 lets `boundary*` replace it, and some parsers go on after its
    closing quote.
    """
    lines = list(content_types)
    if len(lines) != 1 or _FORM_TYPE.fullmatch(line := lines[0].strip(b" \t")) is None:
        return None
    params = [(name.lower(), value.strip(b" \t")) for name, value in _PARAM.findall(line)]
    found = [(name, value) for name, value in params if name.partition(b"*")[0] == b"boundary"]
    if len(found) != 1 or found[0][0] != b"boundary":
        return None
    boundary = _unquoted(found[0][1])
    return boundary if _PLAIN_BOUNDARY.fullmatch(boundary) else None


def _unquoted(value: bytes) -> bytes:
    value = value.strip()
    return re.sub(rb"\\(.)", rb"\1", value[1:-1], flags=re.S) if value[:1] == b'"' else value


class FormModel:
    """Parses a form as it comes; O(n), and holds at most a part's head or a short field.

    `models` are the values of all fields that name one, `fields` the number of
    those that have begun. `decided`: the first of them has come, or a file, the
    end or FIRST_BYTES came before any. `readable` is False if a field or its
    head is too long or encoded.

    `is_named` says by its casefolded name whether a field is one of those that
    are looked for, if that is not the model; with `skips_files`, a file of
    such a name is none.
    """

    def __init__(
        self,
        boundary: bytes,
        is_named: Callable[[str], object] = _NAMES.fullmatch,
        skips_files: bool = False,
    ) -> None:
        self._is_named = is_named
        self._skips_files = skips_files
        self.saw_file = False
        """Whether a file has begun."""
        self.models: list[str] = []
        self.span: tuple[int, int] | None = None
        """The offsets of the first of them in the form: its first byte, and the one after it."""
        self.fields = 0
        self.decided = False
        self.readable = True
        self._delimiter = b"--" + boundary
        self._buffer = bytearray()
        self._passed = 0
        """The number of bytes that have left the buffer."""
        self._at = 0
        """The offset up to which the buffer has been read."""
        self._searched = 0
        """The offset up to which there is neither the end of a head nor a delimiter."""
        self.seen_bytes = 0
        self._step: Callable[[], bool] = self._seek

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the form."""
        self.seen_bytes += len(data)
        self._buffer += data
        while self._step():
            pass
        del self._buffer[: self._at]
        self._passed += self._at
        self._searched = max(0, self._searched - self._at)
        self._at = 0
        if self.seen_bytes >= FIRST_BYTES:
            self.decided = True

    @property
    def named(self) -> bool:
        """Whether the form's model is known, or is known to be unreadable."""
        return bool(self.models) or not self.readable

    def _go(self, at: int, step: Callable[[], bool]) -> bool:
        """Continue at offset `at` with `step`."""
        self._at = self._searched = at
        self._step = step
        return True

    def _give_up(self) -> bool:
        """Stop reading: a head or field is too long, or encoded."""
        self.readable, self.decided = False, True
        return self._go(len(self._buffer), self._ignore)

    def _ignore(self) -> bool:
        self._at = len(self._buffer)
        return False

    def _seek(self) -> bool:
        """Find the next delimiter, between two parts or in a part that is not needed."""
        at = self._buffer.find(self._delimiter, self._at)
        if at < 0:
            self._at = max(self._at, len(self._buffer) - len(self._delimiter) + 1)
            return False
        return self._go(at + len(self._delimiter), self._read_head)

    def _read_head(self) -> bool:
        buffer, at = self._buffer, self._at
        if buffer[at : at + 2] == b"--":  # the last delimiter; parsers may or may not read what follows
            return self._go(at, self._seek)
        start = max(at, self._searched - len(self._delimiter) - 3)
        next_part = buffer.find(self._delimiter, start)
        found = _HEAD_END.search(buffer, start, next_part if next_part >= 0 else len(buffer))
        if found is None:
            if next_part >= 0:  # a part without a head: the next one begins here
                return self._go(next_part, self._seek)
            if len(buffer) - at > _LONGEST_HEAD:
                return self._give_up()
            self._searched = len(buffer)
            return False
        return self._go(found.end(), self._field(bytes(buffer[at : found.start()])))

    def _field(self, head: bytes) -> Callable[[], bool]:
        """Return the step that follows a part's head."""
        names, is_file = names_in_head(head)
        self.saw_file = self.saw_file or is_file
        if any(map(self._is_named, names)) and not (is_file and self._skips_files):
            self.fields += 1
            if is_file or b"content-transfer-encoding" in head.lower():
                self.readable, self.decided = False, True
                return self._ignore
            return self._read_model
        if is_file:
            self.decided = True
        return self._seek

    def _read_model(self) -> bool:
        start = max(self._at, self._searched - len(self._delimiter))
        at = self._buffer.find(self._delimiter, start)
        self._searched = len(self._buffer)
        if at < 0 and len(self._buffer) - self._at <= _LONGEST_MODEL + len(self._delimiter):
            return False
        value = bytes(self._buffer[self._at : at if at >= 0 else None])
        if len(value) > _LONGEST_MODEL + 2:
            return self._give_up()
        value = value.removesuffix(b"\n").removesuffix(b"\r")
        if not self.models:
            begin = self._passed + self._at
            self.span = (begin, begin + len(value))
        self.models.append(value.decode("utf-8", "replace"))
        self.decided = True
        return self._go(at, self._seek)


def names_in_head(head: bytes) -> tuple[set[str], bool]:
    """Return all names that the head of a part gives it, casefolded, and whether it is a file.

    A name counts in every way in which a parser may decode it: with `name*`
    and the pieces `name*0`, `name*1` of RFC 2231, and with percent-encoding. An
    encoded word (RFC 2047) may be any name: it counts as `model`.
    """
    names: set[str] = set()
    is_file = False
    for line in _LINE_END.split(_FOLD.sub(b" ", head)):
        field, _, value = line.partition(b":")
        if field.strip().lower() != b"content-disposition":
            continue
        pieces: dict[bytes, bytes] = {}
        for name, given in _PARAM.findall(value):
            kind, star, number = name.lower().partition(b"*")
            is_file = is_file or kind == b"filename"
            if kind == b"name":
                text = _unquoted(given)
                names |= _spellings(text) | _spellings(given.strip(b"\"' "))
                if star:
                    pieces[number.rstrip(b"*")] = text.rpartition(b"'")[2]
        names |= _spellings(b"".join(pieces.values()))
        names |= _spellings(b"".join(pieces[number] for number in sorted(pieces)))
        for name in _LOOSE_NAME.findall(value):
            names |= _spellings(name)
    return names - {""}, is_file


def _spellings(name: bytes) -> set[str]:
    """Return what parsers may make of a name."""
    found = {each.strip().decode("utf-8", "replace").casefold() for each in (name, unquote_to_bytes(name))}
    return found | {"model"} if b"=?" in name else found

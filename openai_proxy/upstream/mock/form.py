"""The fields of a multipart form that is all there (RFC 7578). Pure."""

from __future__ import annotations

import re

from .reply import Refusal

MOST_PARTS = 100
_LONGEST_HEAD = 8 * 1024
_PARAMETER = re.compile(rb';[ \t]*(name|filename)="([^"\r\n]*)"', re.I)


def parse_form(body: bytes, boundary: bytes) -> dict[str, tuple[str | None, bytes]]:
    """Return file name (None for a plain field) and content of each field; the first one of a name counts."""
    delimiter = b"\r\n--" + boundary
    parts = (b"\r\n" + body).split(delimiter, MOST_PARTS + 2)
    if len(parts) > MOST_PARTS + 2:
        raise Refusal(f"The mock upstream reads forms of at most {MOST_PARTS} parts.")
    if len(parts) < 2 or not parts[-1].startswith(b"--"):
        raise Refusal("The form of this request is not whole.")
    fields: dict[str, tuple[str | None, bytes]] = {}
    for part in parts[1:-1]:
        end = part.find(b"\r\n\r\n", 0, _LONGEST_HEAD)
        if end < 0 or not part.startswith(b"\r\n"):
            raise Refusal("The form of this request cannot be read.")
        found = dict.fromkeys(("name", "filename"))
        for key, value in _PARAMETER.findall(part[:end]):
            found[key.decode("ascii").lower()] = value.decode("utf-8", "replace")
        name = found["name"]
        if name is not None:
            fields.setdefault(name, (found["filename"], part[end + 4 :]))
    return fields

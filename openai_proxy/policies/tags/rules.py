"""The form and number of a tag's values, and the names of end users. Pure."""

from __future__ import annotations

from hashlib import sha256

from ...wire.key_like import KEY_LIKE

MOST_VALUES = 200
"""The most values of each tag; further ones are counted as `other`."""
LONGEST_VALUE = 100
LONGEST_USER = 200
OTHER = "other"
END_USER = "end_user"
"""The name of the end user among the tags; no tag has this name."""


def tag_value(value: bytes) -> str | None:
    """Return a header's value as a tag: short, printable, and redacted if it looks like a key; None if it is empty.

    >>> tag_value(b" red "), tag_value(b""), tag_value(b"sk-proxy-abcdefgh")
    ('red', None, '[redacted]')
    """
    text = value[: 4 * LONGEST_VALUE].decode("utf-8", "replace").strip()[:LONGEST_VALUE]
    return _printable(KEY_LIKE.sub("[redacted]", text)) or None


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def end_user_name(user: object, hashed: bool) -> str | None:
    """Return the name of an end user in logs and reports; None if a body names none.

    Hashed it is `user-` and 16 hex digits, the same for the same user, so that
    usage can be counted without a name. It does not hide a name from somebody
    who can guess it.
    """
    if not isinstance(user, str) or not user:
        return None
    if hashed:
        return "user-" + sha256(user.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return _printable(KEY_LIKE.sub("[redacted]", user[:LONGEST_USER]))


class TagValues:
    """The first values seen of each tag; later ones are counted as `other`."""

    def __init__(self, most: int = MOST_VALUES) -> None:
        self._most = most
        self._values: dict[str, set[str]] = {}

    def of(self, tag: str, value: str) -> str:
        """Return the value, or `other` if there are too many of them."""
        seen = self._values.setdefault(tag, set())
        if value not in seen:
            if len(seen) >= self._most:
                return OTHER
            seen.add(value)
        return value

r"""Parse `name:key=value:key=value`, as endpoint strings are written.

As in Twisted's endpoint strings, `:` separates, `=` makes a pair, and a
backslash takes the meaning from the character after it. One difference, so
that URLs need no backslashes: a colon that no `key=` follows belongs to
the value before it, as in `otel:endpoint=http://host:4318/`. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from attrs import field, frozen

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")


@frozen
class ObserverSpec:
    """A parsed `--observer`: its name, positional and `key=value` parameters."""

    name: str
    args: tuple[str, ...] = field(default=(), repr=False)
    kwargs: Mapping[str, str] = field(factory=dict, repr=False)

    @property
    def identity(self) -> tuple[str, tuple[str, ...], tuple[tuple[str, str], ...]]:
        """Equal for specs that mean the same observer."""
        return self.name, self.args, tuple(sorted(self.kwargs.items()))


def parse_spec(text: str) -> ObserverSpec:
    """Parse one spec; ValueError (without the text's values) if it is malformed."""
    parts = list(_split(text))
    name = parts.pop(0)[0]
    if not _KEY.match(name):
        raise ValueError("an observer is written name:key=value:key=value, and its name is missing")
    args: list[str] = []
    kwargs: dict[str, str] = {}
    last: str | None = None
    for raw, equals_at in parts:
        key = raw[:equals_at] if equals_at >= 0 else ""
        if _KEY.match(key):
            if key in kwargs:
                raise ValueError(f"observer {name}: parameter {key!r} is given twice")
            kwargs[key] = raw[equals_at + 1 :]
            last = key
        elif last is not None:
            kwargs[last] += ":" + raw
        else:
            args.append(raw)
    return ObserverSpec(name, tuple(args), kwargs)


def _split(text: str) -> Iterator[tuple[str, int]]:
    """Yield each part unescaped, with the position of its first bare `=`, or -1."""
    part: list[str] = []
    equals_at = -1
    characters = iter(text)
    for character in characters:
        if character == "\\":
            escaped = next(characters, None)
            if escaped is None:
                raise ValueError("an observer's text ends in a backslash that escapes nothing")
            part.append(escaped)
        elif character == ":":
            yield "".join(part), equals_at
            part, equals_at = [], -1
        else:
            if character == "=" and equals_at < 0:
                equals_at = len(part)
            part.append(character)
    yield "".join(part), equals_at

"""A value that fits a JSON Schema, for structured outputs and arguments of tools. Pure.

What a schema says beyond types, members, choices and bounds (patterns,
conditions) is not looked at.
"""

from __future__ import annotations

from typing import Any

from .words import stream_of, text_from

DEEPEST = 12
MOST_VALUES = 500
"""Values in one sample; what is beyond is null."""
_FORMATS = {
    "date": "2025-01-31",
    "date-time": "2025-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "P1D",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def sample(schema: Any, seed: bytes) -> Any:
    """Return a value that fits `schema` as far as this module reads it. Bounded, also for schemas that refer to themselves."""
    return _Sampler(schema, seed).value(schema, 0)


class _Sampler:
    def __init__(self, root: Any, seed: bytes) -> None:
        self._root = root
        self._seed = seed
        self._numbers = iter(stream_of(seed, 4 * MOST_VALUES))
        self._left = MOST_VALUES

    def _draw(self, count: int) -> int:
        return next(self._numbers, 0) % max(1, count)

    def value(self, schema: Any, depth: int) -> Any:
        """Return a value for one schema of the tree."""
        schema = self._resolved(schema)
        self._left -= 1
        if not isinstance(schema, dict) or depth > DEEPEST or self._left < 0:
            return None
        if "const" in schema:
            return schema["const"]
        choices = schema.get("enum")
        if isinstance(choices, list) and choices:
            return choices[self._draw(len(choices))]
        for name in ("anyOf", "oneOf"):
            options = schema.get(name)
            if isinstance(options, list) and options:
                return self.value(self._first_useful(options), depth + 1)
        return self._typed(schema, depth)

    def _typed(self, schema: dict[str, Any], depth: int) -> Any:
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((each for each in kind if each != "null"), "null")
        if kind is None:
            kind = next((name for member, name in _TELLING if member in schema), "string")
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, depth)
        if kind == "boolean":
            return self._draw(2) == 1
        if kind in ("integer", "number"):
            return self._number(schema, kind == "integer")
        return self._text(schema) if kind == "string" else None

    def _resolved(self, schema: Any) -> Any:
        """Follow `$ref`, and take the members of `allOf` together."""
        for _ in range(DEEPEST):
            if not isinstance(schema, dict) or not isinstance(reference := schema.get("$ref"), str):
                break
            schema = self._at(reference)
        if isinstance(schema, dict) and isinstance(parts := schema.get("allOf"), list):
            merged = {name: value for name, value in schema.items() if name != "allOf"}
            for part in parts[:DEEPEST]:
                found = self._at(part["$ref"]) if isinstance(part, dict) and "$ref" in part else part
                if isinstance(found, dict):
                    properties = {**_dict(merged.get("properties")), **_dict(found.get("properties"))}
                    merged = {**merged, **found, **({"properties": properties} if properties else {})}
            merged.pop("allOf", None)
            return merged
        return schema

    def _at(self, reference: Any) -> Any:
        found: Any = self._root
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        for name in reference[1:].split("/")[1 : DEEPEST + 1]:
            name = name.replace("~1", "/").replace("~0", "~")
            found = found.get(name) if isinstance(found, dict) else None
        return found

    def _first_useful(self, options: list[Any]) -> Any:
        return next((o for o in options[:64] if not (isinstance(o, dict) and o.get("type") == "null")), None)

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name, inner in _dict(schema.get("properties")).items():
            if self._left <= 0:
                break
            made[name] = self.value(inner, depth + 1)
        return made

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        count = max(1, _count(schema.get("minItems"), 1))
        count = min(count, _count(schema.get("maxItems"), count))
        inner = schema.get("items", {})
        made: list[Any] = []
        while len(made) < count and self._left > 0 and depth < DEEPEST:
            made.append(self.value(inner, depth + 1))
        return made

    def _number(self, schema: dict[str, Any], whole: bool) -> float:
        low = _bound(schema.get("minimum"), _bound(schema.get("exclusiveMinimum"), None, 1))
        high = _bound(schema.get("maximum"), _bound(schema.get("exclusiveMaximum"), None, -1))
        number: float
        if low is None:
            number = self._draw(100) if high is None else min(high, self._draw(100))
        elif high is not None and low > high:  # between two that it must not be
            number = (low + high) / 2
        else:
            span = 99.0 if high is None else min(99.0, max(0.0, high - low))
            number = low + self._draw(int(span) + 1)
        step = _bound(schema.get("multipleOf"), None)
        if step is not None and step > 0:
            number = number // step * step
            number = number + step if low is not None and number < low else number
        return int(number) if whole else float(number)

    def _text(self, schema: dict[str, Any]) -> str:
        known = _FORMATS.get(str(schema.get("format")))
        if known is not None:
            return known
        seed = self._seed + bytes([self._draw(256)]) + b"%d" % self._left
        text = text_from(seed).partition(".")[0]
        shortest = min(4096, _count(schema.get("minLength"), 0))
        text = text * (1 + shortest // len(text))
        return text[: max(shortest, _count(schema.get("maxLength"), 48))] if text else text


_TELLING = (
    ("properties", "object"),
    ("items", "array"),
    ("minimum", "number"),
    ("maximum", "number"),
)
"""Members that show the type of a schema without one."""


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any, default: int) -> int:
    """Return a bound of lengths, at most 4096."""
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return min(value, 4096) if is_count else default


def _bound(value: Any, default: float | None, beside: int = 0) -> float | None:
    """Return a number of a schema, moved by `beside`; `default` for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15:
        return value + beside
    return default

"""What a cassette holds: how much can be replayed, what cannot and why, and what looks like a key. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson

from ...wire.key_like import KEY_LIKE
from .match import asked_of_line
from .recorded import answer_of_line

BROKEN = "it is no line of an exchange log"
MOST_PLACES = 20
"""Lines with keys that are named."""


class CassetteReport:
    """Counts, line by line. `take` each line, then read."""

    def __init__(self) -> None:
        self.replayable: Counter[tuple[str, str]] = Counter()
        """By endpoint and model."""
        self.reasons: Counter[str] = Counter()
        """Why lines cannot be replayed."""
        self.with_keys = 0
        """Lines in which something looks like a key."""
        self.places: list[str] = []
        """Where some of them are."""

    def take(self, data: bytes, where: str) -> None:
        """Look at one line, which stands at `where`."""
        if _has_key(data.decode("utf-8", "replace")):
            self.with_keys += 1
            if len(self.places) < MOST_PLACES:
                self.places.append(where)
        try:
            line = orjson.loads(data)
            answer_of_line(line)
            asked_of_line(line, ())
            named = _text(line.get("endpoint")), _text(line.get("model"))
        except orjson.JSONDecodeError:
            self.reasons[BROKEN] += 1
        except ValueError as error:
            self.reasons[str(error)] += 1
        except (KeyError, TypeError, AttributeError):
            self.reasons[BROKEN] += 1
        else:
            self.replayable[named] += 1

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        total = sum(self.replayable.values())
        lines = [f"{total} answers can be replayed"]
        lines += [
            f"  {count:6}  {endpoint}  {model}"
            for (endpoint, model), count in sorted(self.replayable.items())
        ]
        left_out = sum(self.reasons.values())
        if left_out:
            lines.append(f"{left_out} cannot")
            lines += [f"  {count:6}  {reason}" for reason, count in self.reasons.most_common()]
        if self.with_keys:
            lines.append(f"{self.with_keys} hold what looks like a key: {', '.join(self.places)}")
        return lines


def _has_key(text: str) -> bool:
    return any(_is_key(found[0]) for found in KEY_LIKE.finditer(text))


def _is_key(word: str) -> bool:
    """Say whether what looks like a key is one: models write of a basic idea, and of bearers of news."""
    scheme, _, value = word.partition(" ")
    if scheme.lower() not in ("bearer", "basic"):
        return True
    return (
        len(value) >= 16 and any(c.isdigit() for c in value[:200]) and any(c.isalpha() for c in value[:200])
    )


def _text(value: Any) -> str:
    """Return a name that a terminal may be given."""
    return "".join(c for c in value[:80] if c.isprintable()) if isinstance(value, str) and value else "-"

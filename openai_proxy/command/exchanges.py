"""The running and recently ended exchanges of a proxy: collect them from its events, sort, filter, and format them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from ..wire.sse import SSEDecoder
from .terminal import aligned, printable

MOST_ENDED = 200
MOST_RUNNING = 10_000
"""The largest number of exchanges in a table; the rest is not shown."""
_LONGEST_EVENT_BYTES = 64 * 1024 * 1024
COLUMNS = ("age", "state", "key", "model", "endpoint", "upstream", "tokens", "first", "cost", "status", "id")
SORTS = ("age", "key", "model", "tokens", "cost")
_WIDEST = 40

Row = Mapping[str, Any]


class LiveTable:
    """The exchanges of a proxy from its `/admin/live`; `feed` takes the bytes.

    `now` is in monotonic seconds: running exchanges age between events.
    """

    def __init__(self) -> None:
        self.stats: dict[str, Any] = {}
        self._rows: dict[str, tuple[dict[str, Any], float]] = {}
        self._decoder = SSEDecoder(_LONGEST_EVENT_BYTES)

    def feed(self, data: bytes, now: float) -> None:
        """Take bytes of the event stream; unreadable events are skipped."""
        for block in self._decoder.feed(data):
            name = next(
                (line[6:].strip() for line in block.raw.splitlines() if line.startswith(b"event:")), b""
            )
            if block.data is None:
                continue
            try:
                document = orjson.loads(block.data)
            except orjson.JSONDecodeError:
                continue
            if isinstance(document, dict):
                self._take(name, document, now)

    def _take(self, name: bytes, document: dict[str, Any], now: float) -> None:
        if name == b"snapshot":
            self._rows = {}
            for row in _dicts(document.get("exchanges")):
                self._put(row, now)
            stats = document.get("stats")
            self.stats = stats if isinstance(stats, dict) else {}
        elif name == b"stats":
            self.stats = document
        elif name in (b"started", b"progress", b"ended"):
            self._put(document, now)
            self._forget()

    def _put(self, row: dict[str, Any], now: float) -> None:
        if isinstance(row.get("id"), str) and (row["id"] in self._rows or len(self._rows) < MOST_RUNNING):
            self._rows.pop(row["id"], None)
            self._rows[row["id"]] = row, now

    def _forget(self) -> None:
        ended = [id for id, (row, _) in self._rows.items() if row.get("state") == "ended"]
        for id in ended[: max(0, len(ended) - MOST_ENDED)]:
            del self._rows[id]

    def rows(self, now: float) -> list[dict[str, Any]]:
        """Return all rows, with their present age."""
        return [
            row if row.get("state") == "ended" else {**row, "age_s": _number(row.get("age_s")) + now - at}
            for row, at in self._rows.values()
        ]


def _dicts(value: Any) -> Iterable[dict[str, Any]]:
    return (each for each in value if isinstance(each, dict)) if isinstance(value, list) else ()


def arranged(rows: Iterable[Row], sort: str, text: str = "") -> list[Row]:
    """Return the rows that have `text` in one of their cells: running ones first, each part in its order.

    The default is the oldest first among the running ones, and the latest first
    among the ended ones; other columns begin with the greatest number or the
    first name.
    """
    wanted = text.lower()
    found = [row for row in rows if not wanted or any(wanted in cell.lower() for cell in cells(row))]
    return sorted(found, key=lambda row: _sort_key(row, sort))


def _sort_key(row: Row, sort: str) -> tuple[Any, ...]:
    ended = row.get("state") == "ended"
    if sort in ("key", "model"):
        by: Any = (str(row.get(sort) or "\U0010ffff"),)
    elif sort == "tokens":
        by = (-_number(row.get("output_tokens")),)
    elif sort == "cost":
        by = (-_number(row.get("cost_usd")),)
    else:
        by = ()
    started = str(row.get("started") or "")
    latest = tuple(-ord(char) for char in started[:40])
    return (ended, *by, latest if ended else -_number(row.get("age_s")))


def cells(row: Row) -> list[str]:
    """Return the texts of a row, by COLUMNS; they contain no command to a terminal."""
    cost, first = row.get("cost_usd"), row.get("first_byte_s")
    tokens = row.get("output_tokens")
    outcome, status = row.get("outcome"), row.get("status")
    words = " ".join(str(each) for each in (status, outcome) if each not in (None, "complete"))
    found = (
        _age(_number(row.get("age_s"))),
        row.get("state"),
        row.get("key"),
        row.get("model"),
        row.get("endpoint"),
        row.get("upstream"),
        None if tokens is None else f"{'~' if row.get('estimated') else ''}{tokens}",
        f"{first:.2f}s" if isinstance(first, int | float) else None,
        f"${cost:.4f}" if isinstance(cost, int | float) else None,
        words or None,
        row.get("id"),
    )
    return [_cut(printable(each)) if each not in (None, "") else "-" for each in found]


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _age(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f}s"
    minutes = int(seconds) // 60
    return f"{minutes}m{int(seconds) % 60:02}s" if minutes < 100 else f"{minutes // 60}h{minutes % 60:02}m"


def headline(stats: Mapping[str, Any], in_flight: int) -> str:
    """Return the important figures on one line."""
    parts = [f"{in_flight} in flight"]
    for name, form in (("requests_per_s", "{:.1f} requests/s"), ("tokens_per_s", "{:.0f} tokens/s")):
        if isinstance(stats.get(name), int | float):
            parts.append(form.format(stats[name]))
    if isinstance(stats.get("cost_today_usd"), int | float):
        parts.append(f"${stats['cost_today_usd']:.2f} today")
    errors = stats.get("errors")
    if isinstance(errors, dict):
        words = [f"{count} × {printable(kind)}" for kind, count in errors.items() if count]  # noqa: RUF001
        parts += [f"last minute: {', '.join(words)}"] if words else []
    return ", ".join(parts)


def as_text(rows: Sequence[Row]) -> list[str]:
    """Return a table of rows as lines, the names of the columns first."""
    return aligned([[name.upper() for name in COLUMNS], *map(cells, rows)])

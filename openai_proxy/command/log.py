"""`openai-proxy log`: search an exchange log."""

from __future__ import annotations

import heapq
import re
import sys
import time
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..net.descriptors import raise_limit
from ..net.standard_output import reader_left
from ..observe.lines.record import iso_time, shown
from .conversation import conversation, texts
from .log_files import Line, LogDirectory
from .words import Parser, complain

LOOK_EVERY_S = 0.3
_AGE = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_INTERRUPTED = 130

Matches = Callable[[Line], bool]


def parser() -> Parser:
    """Return the parser of this sub-command."""
    made = Parser(
        prog="openai-proxy log",
        description="Look into an exchange log: one line for each exchange (time, status, key, model,"
        " tokens, cost, duration, path, id), or a whole conversation.",
    )
    made.add_argument(
        "--dir", type=Path, default=Path("logs"), metavar="DIR", help="the log's directory (default: logs)"
    )
    made.add_argument("--key", metavar="NAME", help="only exchanges of this key")
    made.add_argument("--model", metavar="GLOB", help="only models like this, such as 'gpt-4o*'")
    made.add_argument(
        "--since",
        type=_since,
        metavar="TIME",
        help="only from this time on: 15m, 2h, 7d, or 2026-11-30T08:00",
    )
    made.add_argument("--status", type=_status, metavar="STATUS", help="only these: 200, or 4xx,5xx")
    made.add_argument("--grep", type=_pattern, metavar="REGEX", help="only exchanges with a text like this")
    made.add_argument("--id", metavar="ID", help="show the whole conversation of this exchange")
    made.add_argument("--json", action="store_true", help="print the lines as they are in the log")
    made.add_argument("--follow", action="store_true", help="follow the log as it grows")
    return made


def _since(text: str) -> str:
    """Parse an age, or a date with or without a time (UTC), into a time as the log writes it."""
    age = _AGE.fullmatch(text)
    try:
        if age is not None:
            moment = datetime.now(timezone.utc) - timedelta(**{_UNITS[age[2]]: int(age[1])})
        else:
            moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except (ValueError, OverflowError):
        raise ArgumentTypeError(f"{text!r} is no time such as 15m, 2h, 7d or 2026-11-30T08:00") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return iso_time(moment.timestamp())


def _status(text: str) -> re.Pattern[str]:
    """Return a pattern for the statuses of a list such as `429,5xx`."""
    if not re.fullmatch(r"\d[\dx]{2}(,\d[\dx]{2})*", text):
        raise ArgumentTypeError(f"{text!r} is no list of statuses such as 200 or 4xx,5xx")
    return re.compile(text.replace("x", r"\d").replace(",", "|"))


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise ArgumentTypeError(f"{text!r} is no regular expression: {error}") from None


def wanted(options: Namespace) -> Matches:
    """Return a function that says whether a line passes all filters."""
    tests: list[Matches] = []
    if options.key is not None:
        tests.append(lambda line: line.record.get("key") == options.key)
    if options.model is not None:
        tests.append(lambda line: fnmatchcase(str(line.record.get("model")), options.model))
    if options.since is not None:
        tests.append(lambda line: line.timestamp >= options.since)
    if options.status is not None:
        tests.append(lambda line: options.status.fullmatch(str(_status_of(line.record))) is not None)
    if options.id is not None:
        tests.append(lambda line: line.record.get("id") == options.id)
    if options.grep is not None:
        tests.append(lambda line: any(map(options.grep.search, texts(line.record))))
    return lambda line: all(test(line) for test in tests)


def summary(record: dict[str, Any]) -> str:
    """Return an exchange on one line: time, status, key, model, tokens, cost, duration, path, id."""
    usage, cost, duration = record.get("usage"), record.get("cost_usd"), record.get("duration_s")
    outcome = record.get("outcome")
    tokens = f"{usage.get('input_tokens')}/{usage.get('output_tokens')}" if isinstance(usage, dict) else None
    words = [
        record.get("timestamp"),
        _status_of(record),
        record.get("key"),
        record.get("model"),
        tokens,
        f"${cost:.6f}" if isinstance(cost, int | float) else None,
        f"{duration:.3f}s" if isinstance(duration, int | float) else None,
        record["request"].get("path"),
        record.get("id"),
        *([outcome] if outcome != "complete" else []),
    ]
    return " ".join("-" if word is None else shown(str(word)) for word in words)


def _status_of(record: dict[str, Any]) -> Any:
    response = record.get("response")
    return response.get("status_code") if isinstance(response, dict) else None


def _raw(line: Line) -> bytes:
    return line.raw


def _readable(line: Line) -> bytes:
    return conversation(line.record).encode("utf-8", "backslashreplace")


def _short(line: Line) -> bytes:
    return f"{summary(line.record)}\n".encode("utf-8", "backslashreplace")


def _merged(directory: LogDirectory, since: str, *, last: bool) -> Iterator[Line]:
    """Yield the lines of all files ordered by time, as far as each file is."""
    for files in directory.by_day(since):
        yield from heapq.merge(*(each.lines(last=last) for each in files), key=lambda line: line.timestamp)


def _write(lines: Iterable[Line], matches: Matches, render: Callable[[Line], bytes]) -> int:
    """Write the lines that match to standard output; return their number."""
    count = 0
    for line in lines:
        if matches(line):
            sys.stdout.buffer.write(render(line))
            count += 1
    sys.stdout.buffer.flush()
    return count


def _look(options: Namespace) -> int:
    directory, matches = LogDirectory(options.dir), wanted(options)
    render = _raw if options.json else _short if options.id is None else _readable
    # an exchange is in the file of the day on which it began
    since = (options.since or "")[:10].replace("-", "")
    count = _write(_merged(directory, since, last=not options.follow), matches, render)
    while options.follow and not (options.id is not None and count):
        time.sleep(LOOK_EVERY_S)
        count += _write(_merged(directory, since, last=False), matches, render)
    if directory.skipped:
        lines = f"{directory.skipped} line{'s' if directory.skipped > 1 else ''}"
        complain(f"skipped {lines} that cannot be read (torn or broken)")
    if options.id is not None and not count:
        return complain(f"no exchange {options.id[:80]} in {options.dir}")
    return 0


def main(arguments: Sequence[str]) -> int:
    """Print the exchanges; return 0, or 1 if the log or the exchange does not exist."""
    options = parser().parse_args(arguments)
    raise_limit()  # all files of a day are open while their lines are merged
    try:
        return _look(options)
    except BrokenPipeError:
        reader_left()
        return 0
    except KeyboardInterrupt:
        return _INTERRUPTED
    except OSError as error:
        return complain(f"{error.filename or options.dir}: {error.strerror}")

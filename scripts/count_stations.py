#!/usr/bin/env python3
"""Count what one exchange costs in each room: Python calls and instructions, and calls of C functions.

    .venv/bin/python scripts/count_stations.py             # the tables
    .venv/bin/python scripts/count_stations.py --write     # into docs/explain/performance.md

The exchange is the one of `trace_exchange.py`, on kept connections. The number
of bytecode instructions does not depend on the machine's load, so two versions
can be compared. It does not include the cost of a C call (a send, a JSON
document, a digest): these calls are only counted.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from trace_exchange import CONFIGURATIONS, PACKAGE, run_traced

DOCUMENT = PACKAGE.parent / "docs" / "explain" / "performance.md"
LIBRARIES = "libraries"
"""Twisted, attrs and other libraries that the package calls."""
LOOP = "the reactor's loop"
"""Calls that do not come from the package; they are left out, because they include the client of this measurement."""
_CALLS, _INSTRUCTIONS, _C_CALLS = range(3)


class _Counter:
    """Counts by room, for each exchange separately, in the thread in which it is started."""

    def __init__(self) -> None:
        self.exchanges: list[tuple[Counter[str], Counter[str], Counter[str]]] = []
        self._prefix = str(PACKAGE) + "/"

    def start(self) -> None:
        self.exchanges.append((Counter(), Counter(), Counter()))
        sys.settrace(self._enter)
        sys.setprofile(self._note)

    def stop(self) -> None:
        sys.setprofile(None)
        sys.settrace(None)

    def _room(self, frame: FrameType) -> str:
        file = frame.f_code.co_filename
        if file.startswith(self._prefix):
            folder = str(Path(file[len(self._prefix) :]).parent)
            return folder if folder != "." else "logs.py"
        above = frame.f_back
        while above is not None and not above.f_code.co_filename.startswith(self._prefix):
            above = above.f_back
        return LOOP if above is None else LIBRARIES

    def _enter(self, frame: FrameType, event: str, _: Any) -> Any:
        room = self._room(frame)
        if room == LOOP:
            return None
        counts = self.exchanges[-1]
        counts[_CALLS][room] += 1
        frame.f_trace_opcodes, frame.f_trace_lines = True, False

        def inside(frame: FrameType, event: str, _: Any) -> Any:
            if event == "opcode":
                counts[_INSTRUCTIONS][room] += 1
            return inside

        return inside

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "c_call" and (room := self._room(frame)) != LOOP:
            self.exchanges[-1][_C_CALLS][room] += 1


def counted(configuration: str) -> list[tuple[str, int, int, int]]:
    """Return (room, calls, instructions, calls of C) of a usual exchange. Runs the reactor, which runs once in a process."""
    counter = _Counter()
    run_traced(configuration, counter)
    found = []
    for room in dict.fromkeys(room for each in counter.exchanges for room in each[_CALLS]):
        usual = [int(statistics.median(each[kind][room] for each in counter.exchanges)) for kind in range(3)]
        found.append((room, *usual))
    return sorted(found, key=lambda row: -row[1 + _INSTRUCTIONS])  # type: ignore[return-value]  # of three each


def measured(name: str) -> list[list[Any]]:
    """Return the result of `counted` from a separate process."""
    command = [sys.executable, __file__, "--raw", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    rows: list[list[Any]] = json.loads(done.stdout.splitlines()[-1])
    return rows


def tables() -> str:
    """Return the part of the document between its markers."""
    lines: list[str] = []
    for name in CONFIGURATIONS:
        rows = measured(name)
        total = [sum(row[1 + kind] for row in rows) for kind in range(3)]
        lines += ["", f'The exchange "{name}":', "", "| room | calls | instructions | share | calls of C |"]
        lines.append("|---|---|---|---|---|")
        for room, calls, instructions, c_calls in rows:
            if instructions:
                share = instructions / total[_INSTRUCTIONS]
                lines.append(f"| {room} | {calls} | {instructions} | {share:.1%} | {c_calls} |")
        lines.append(f"| all | {total[_CALLS]} | {total[_INSTRUCTIONS]} | | {total[_C_CALLS]} |")
    return "\n".join(lines).strip()


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description="Count what one exchange costs in each room.")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {DOCUMENT.name}")
    parser.add_argument("--raw", choices=CONFIGURATIONS, help="print the counts of one exchange as JSON")
    chosen = parser.parse_args()
    if chosen.raw:
        print(json.dumps(counted(CONFIGURATIONS[chosen.raw])))
        return
    made = tables()
    if not chosen.write:
        print(made)
        return
    text, count = re.subn(
        r"(<!-- stations -->\n).*?(\n<!-- /stations -->)",
        lambda m: m[1] + made + m[2],
        DOCUMENT.read_text(encoding="utf-8"),
        flags=re.S,
    )
    if count != 1:
        raise ValueError(f"{DOCUMENT.name} must have one '<!-- stations -->' with its end, not {count}")
    DOCUMENT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

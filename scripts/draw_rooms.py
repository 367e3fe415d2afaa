#!/usr/bin/env python3
"""Draw the rooms of the package and the imports between them into docs/explain/architecture.md.

    .venv/bin/python scripts/draw_rooms.py

A room is a folder of `openai_proxy/` or a module at its root; the ways in are one room. The floor of a room is one above the highest room that it
imports. `tests/test_architecture_doc.py` fails if this script would change the document.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "openai_proxy"
DOCUMENT = ROOT / "docs" / "explain" / "architecture.md"

WAYS_IN = {"command": "command", "tap": "command", "__main__": "command"}
"""The command, twistd's plugin and `python -m` are one room: they start the same daemon."""

Graph = Mapping[str, "set[str]"]
"""The rooms that each room imports."""


def rooms() -> dict[str, list[Path]]:
    """Return the files of each room; the package's own `__init__` (its version) is none."""
    found: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if first != "__init__":
            found.setdefault(WAYS_IN.get(first, first), []).append(path)
    return found


def graph() -> Graph:
    """Return which room imports which, imports inside functions and under TYPE_CHECKING included."""
    known = rooms()
    return {
        room: {target for path in files for target in _imported_rooms(path, known) if target != room}
        for room, files in known.items()
    }


def _imported_rooms(path: Path, known: Mapping[str, object]) -> Iterator[str]:
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = (*base, *(node.module or "").split(".")) if node.module else base
            names = [".".join((*module, alias.name)) for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == PACKAGE.name and len(parts) > 1:
                room = WAYS_IN.get(parts[1], parts[1])
                if room in known:
                    yield room


def floors(imports: Graph) -> dict[str, int]:
    """Return the floor of each room, 1 being the lowest; ValueError if rooms import each other in a circle."""
    found: dict[str, int] = {}

    def floor(room: str, above: tuple[str, ...]) -> int:
        if room in above:
            raise ValueError(f"a circle: {' -> '.join((*above[above.index(room) :], room))}")
        if room not in found:
            found[room] = 1 + max((floor(each, (*above, room)) for each in sorted(imports[room])), default=0)
        return found[room]

    for room in sorted(imports):
        floor(room, ())
    return found


def without_detours(imports: Graph) -> Graph:
    """Return the arrows that no longer path implies: enough to see the order of the rooms."""

    def reached(room: str) -> set[str]:
        return {room} | {each for target in imports[room] for each in reached(target)}

    return {
        room: {
            target
            for target in targets
            if not any(target in reached(other) for other in targets if other != target)
        }
        for room, targets in imports.items()
    }


def meaning(room: str) -> str:
    """Return what a room is for: the first line of its docstring."""
    folder = PACKAGE / room / "__init__.py"
    file = folder if folder.exists() else PACKAGE / f"{room}.py"
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def name(room: str) -> str:
    """Return a room's name as its path below the package."""
    if room == "command":
        return "command/ and tap.py"
    return f"{room}/" if (PACKAGE / room).is_dir() else f"{room}.py"


def drawing() -> str:
    """Return the part of the document between its markers."""
    imports = graph()
    level = floors(imports)
    count = sum(map(len, imports.values()))
    lines = [
        f"{len(imports)} rooms on {max(level.values())} floors, {count} arrows, no circle.",
        "",
        "```mermaid",
        "flowchart TD",
    ]
    for floor in sorted(set(level.values()), reverse=True):
        lines += [f"    {room}[{name(room)}]" for room in sorted(imports) if level[room] == floor]
    few = without_detours(imports)
    lines += [f"    {room} --> {target}" for room in sorted(few) for target in sorted(few[room])]
    lines += ["```", "", "| floor | room | what it is for | imports |", "|---|---|---|---|"]
    for room in sorted(imports, key=lambda each: (-level[each], each)):
        targets = sorted(imports[room], key=lambda each: (-level[each], each))
        below = ", ".join(f"`{name(each)}`" for each in targets) or "nothing"
        lines.append(f"| {level[room]} | `{name(room)}` | {meaning(room)} | {below} |")
    return "\n".join(lines)


def redrawn(document: str) -> str:
    """Return the document with the drawing made anew; ValueError if its markers are missing."""
    drawn = drawing()
    text, count = re.subn(
        r"(<!-- rooms -->\n).*?(\n<!-- /rooms -->)", lambda m: m[1] + drawn + m[2], document, flags=re.S
    )
    if count != 1:
        raise ValueError(
            f"{DOCUMENT.name} must have one '<!-- rooms -->' with its end <!-- /rooms -->, not {count}"
        )
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(redrawn(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")

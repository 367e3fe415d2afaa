"""docs/explain/life-of-a-request.md says what a traced exchange does."""

import re
import runpy
from pathlib import Path

import pytest

import openai_proxy

PACKAGE = Path(openai_proxy.__file__).parent
ROOT = PACKAGE.parent
DOCUMENT = (ROOT / "docs" / "explain" / "life-of-a-request.md").read_text(encoding="utf-8")
TRACE = runpy.run_path(str(ROOT / "scripts" / "trace_exchange.py"))
STAGES = [
    [cell.strip() for cell in line.split("|")[1:-1]]
    for line in DOCUMENT.partition("<!-- stages -->")[2].partition("<!-- /stages -->")[0].splitlines()[3:]
]

MOST = {"plain": (20, 35, 20, 42, 30), "limits and log": (30, 50, 30, 65, 45)}
"""The largest numbers of the table: rooms, stays in them, folders, stays in them, stations. Lower them whenever the way becomes shorter."""


def test_the_drawing_is_that_of_a_traced_exchange():
    """A reader who follows the drawing finds the files in which a request is worked on."""
    assert TRACE["redrawn"](DOCUMENT) == DOCUMENT, "run: python scripts/trace_exchange.py --write"


@pytest.mark.parametrize("name", MOST)
def test_the_way_of_an_exchange_stays_short(name):
    """A request can still be followed by a person."""
    (row,) = re.findall(rf"(?m)^\| {name} \|((?: \d+ \|){{5}})$", DOCUMENT)
    counts = [int(number) for number in re.findall(r"\d+", row)]
    assert all(count <= most for count, most in zip(counts, MOST[name], strict=True)), counts


def test_stays_are_runs_of_calls_in_one_room():
    """Two calls in one room are one stay; a call elsewhere between them makes three. Folders of a room are counted apart."""
    call = TRACE["Call"]
    files = ("policies/a/a.py", "policies/b/b.py", "wire/c.py", "policies/a/a.py", "policies/a/d.py")
    calls = [call(file, "f") for file in files]
    assert [(stay.place, len(stay.calls)) for stay in TRACE["stays_of"](calls)] == [
        ("policies", 2),
        ("wire", 1),
        ("policies", 2),
    ]
    assert TRACE["counts"](calls) == {
        "rooms": 2,
        "stays in rooms": 3,
        "folders": 3,
        "stays in folders": 4,
        "stations": 3,
    }
    assert [stay.place for stay in TRACE["stations_of"](calls)] == ["policies/a", "policies/b", "policies/a"]


def test_the_files_of_the_text_exist():
    """Each path between backquotes is one that a reader can open."""
    text = DOCUMENT.partition("## The trace")[0]
    paths = re.findall(r"`([a-z_]+/[a-z_/]*(?:\.py)?)`", text)
    assert len(paths) > 40
    assert [path for path in paths if not (PACKAGE / path).exists()] == []


def test_the_table_has_every_stage_in_the_order_of_the_list():
    """A stage that is added to the list is explained at its place."""
    source = (PACKAGE / "daemon" / "stages.py").read_text(encoding="utf-8")
    body = source.partition("stages: list[Stage | None] = [\n")[2].partition("\n    ]\n")[0]
    entries = [line.strip() for line in body.splitlines() if re.match(r" {8}[A-Za-z_]", line)]
    assert len(entries) == 31
    # `repeats` has two places, one of which is taken; a single flight is a part of the cache
    assert len(STAGES) == len(entries) - 1 + 1


def test_the_table_tells_who_registers_an_end():
    """Who looks for what runs at the end of an exchange finds all of it."""
    documented = {path.strip("`") for _, path, *_, end in STAGES if end.startswith("yes")}
    there = {
        path.relative_to(PACKAGE).as_posix()
        for room in ("policies", "cost")
        for path in (PACKAGE / room).rglob("*.py")
        if re.search(r"(?:exchange|heir)\.on_end\(", path.read_text(encoding="utf-8"))
    }
    assert documented == there


def test_the_table_tells_who_discards():
    """A stage that discards a response says so here."""
    documented = {path.strip("`") for _, path, *_, discards, _ in STAGES if discards.startswith("yes")}
    there = {
        path.strip("`")
        for _, path, *_ in STAGES
        if path.strip("`").endswith(".py")
        and "discard("
        in (PACKAGE / path.strip("`")).read_text(encoding="utf-8").replace("_without_quota.discard(", "")
    }
    assert documented == there

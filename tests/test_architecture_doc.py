"""docs/explain/architecture.md shows the rooms and imports that there are."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "explain" / "architecture.md").read_text(encoding="utf-8")
DRAW = runpy.run_path(str(ROOT / "scripts" / "draw_rooms.py"))

MOST_ROOMS, MOST_FLOORS, MOST_ARROWS = 20, 10, 61


def test_the_drawing_is_that_of_the_imports():
    """A reader finds every room, and who imports whom."""
    assert DRAW["redrawn"](DOCUMENT) == DOCUMENT, "run: python scripts/draw_rooms.py"


def test_the_house_is_small_enough_to_remember():
    """A new room, floor or arrow must be worth another one."""
    graph = DRAW["graph"]()
    assert len(graph) <= MOST_ROOMS
    assert max(DRAW["floors"](graph).values()) <= MOST_FLOORS
    assert sum(map(len, graph.values())) <= MOST_ARROWS


def test_a_circle_of_rooms_is_found():
    """Rooms that import each other have no floor."""
    with pytest.raises(ValueError, match="a circle: b -> c -> b"):
        DRAW["floors"]({"a": {"b"}, "b": {"c"}, "c": {"b"}})


def test_the_drawing_has_the_shortest_arrows_only():
    """An arrow that a longer way stands for is left out."""
    graph = {"top": {"middle", "ground"}, "middle": {"ground"}, "ground": set()}
    assert DRAW["without_detours"](graph) == {"top": {"middle"}, "middle": {"ground"}, "ground": set()}

"""What `openai-proxy top` shows: the table, its order, its words."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world.scripted_proxy import ended, event, row

from openai_proxy.command.exchanges import (
    COLUMNS,
    MOST_ENDED,
    LiveTable,
    arranged,
    as_text,
    cells,
    headline,
)

SNAPSHOT = event(
    "snapshot",
    {"exchanges": [row("a"), ended("b")], "stats": {"requests_per_s": 2.0, "in_flight": 1}, "points": []},
)
STREAM = (
    b": comment\n\n"
    + SNAPSHOT
    + b"".join(
        [
            event("started", row("c", state="waiting", output_tokens=0)),
            event("progress", row("a", output_tokens=9)),
            event("ended", ended("c", outcome="cancelled")),
            event("stats", {"requests_per_s": 3.0}),
            b"event: ended\ndata: not json\n\n",
            event("ended", ["no row"]),
            event("later", {"id": "a", "state": "unknown"}),
        ]
    )
)


def kept(table, now=10.0):
    return {each["id"]: (each["state"], each["output_tokens"]) for each in table.rows(now)}


@given(st.lists(st.integers(1, len(STREAM)), max_size=20))
def test_events_make_a_table_however_they_are_cut(cuts):
    """A network cuts where it likes; what is not understood is passed over."""
    table = LiveTable()
    edges = [0, *sorted(cuts), len(STREAM)]
    for begin, end in itertools.pairwise(edges):
        table.feed(STREAM[begin:end], 10.0)
    assert kept(table) == {"b": ("ended", 7), "a": ("streaming", 9), "c": ("ended", 7)}
    assert table.stats == {"requests_per_s": 3.0}


def test_what_runs_grows_older_between_events():
    """And what has ended does not."""
    table = LiveTable()
    table.feed(SNAPSHOT, 10.0)
    assert {each["id"]: each["age_s"] for each in table.rows(12.0)} == {"a": 3.5, "b": 1.5}


def test_a_new_snapshot_is_all_there_is():
    """A reader that was too slow forgets what it had."""
    table = LiveTable()
    table.feed(SNAPSHOT + event("snapshot", {"exchanges": [row("d")]}), 0.0)
    assert (list(kept(table)), table.stats) == (["d"], {})


def test_the_table_has_a_bound():
    """A day's exchanges do not stay."""
    table = LiveTable()
    table.feed(b"".join(event("ended", ended(f"e{number}")) for number in range(MOST_ENDED + 50)), 0.0)
    table.feed(event("started", row("running")), 0.0)
    assert len(kept(table)) == MOST_ENDED + 1
    assert "e0" not in kept(table)
    assert f"e{MOST_ENDED + 49}" in kept(table)


ROWS = [
    ended("old", started="2026-11-30T08:00:00.000Z", model="b", cost_usd=0.5),
    ended("new", started="2026-11-30T09:00:00.000Z", model="a", output_tokens=99),
    row("young", age_s=1.0, key="zoe", output_tokens=50),
    row("aged", age_s=9.0, model="a", cost_usd=0.1, output_tokens=1),
    row("nobody's", age_s=5.0, key=None),
]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("age", ["aged", "nobody's", "young", "new", "old"]),
        ("key", ["aged", "young", "nobody's", "new", "old"]),
        ("model", ["aged", "nobody's", "young", "new", "old"]),
        ("tokens", ["young", "nobody's", "aged", "new", "old"]),
        ("cost", ["aged", "nobody's", "young", "old", "new"]),
    ],
)
def test_the_order(sort, order):
    """What runs stands first, whatever the column."""
    assert [each["id"] for each in arranged(ROWS, sort)] == order


@pytest.mark.parametrize(
    ("text", "found"), [("ZOE", ["young"]), ("ended", ["new", "old"]), ("$0.5", ["old"]), ("nothing", [])]
)
def test_a_filter_looks_at_every_column(text, found):
    """In what is shown, whatever the case."""
    assert [each["id"] for each in arranged(ROWS, "age", text)] == found


def test_a_name_is_no_command_to_the_terminal():
    """A model is a stranger's text: control characters are shown, long ones cut."""
    shown = dict(
        zip(COLUMNS, cells(row("x", model="\x1b[2Jgpt", key="k" * 99, upstream="\u202eabc")), strict=True)
    )
    assert shown["model"] == "\\x1b[2Jgpt"
    assert shown["key"] == "k" * 39 + "…"
    assert shown["upstream"] == "\\x202eabc"
    assert (shown["tokens"], shown["first"], shown["status"], shown["age"]) == ("~7", "0.25s", "200", "1.5s")


def test_rows_of_another_version_are_shown_as_far_as_they_go():
    """A member that is missing or strange is a dash."""
    assert cells({"id": "x", "age_s": 4000, "cost_usd": "much"}) == ["66m40s", *"---------", "x"]
    assert cells({"id": "x", "age_s": 40000})[0] == "11h06m"


def test_lines_stand_below_each_other():
    """The names of the columns first."""
    lines = as_text([row("x"), ended("y", outcome="timeout", status=504)])
    assert lines[0].split() == [name.upper() for name in COLUMNS]
    assert lines[1].index("alice") == lines[2].index("alice") == lines[0].index("KEY")
    assert "504 timeout" in lines[2]


def test_the_head_says_what_matters():
    """Figures that are not there are left out."""
    stats = {
        "requests_per_s": 2.25,
        "tokens_per_s": 10,
        "cost_today_usd": 1.5,
        "errors": {"429": 2, "x\n": 1, "no": 0},
    }
    assert headline(stats, 3) == (
        "3 in flight, 2.2 requests/s, 10 tokens/s, $1.50 today, last minute: 2 × 429, 1 × x\\x0a"
    )
    assert headline({}, 0) == "0 in flight"

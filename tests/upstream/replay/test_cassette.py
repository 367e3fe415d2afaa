"""The files of a cassette: how they are read and indexed, and what is no part of them."""

import json
import os
import random

import pytest
from upstream.replay.recordings import IGNORED, line, load, packed, write

from openai_proxy.upstream.replay import cassette as cassette_module
from openai_proxy.upstream.replay import files as files_module
from openai_proxy.upstream.replay.match import (
    asked_of_line,
)


def test_lines_are_indexed_in_the_order_of_their_time(tmp_path):
    """Whichever file they stand in."""
    late = line({"a": 1}, {"n": 2}, timestamp="2026-01-02")
    write(tmp_path, late, line({"a": 2}, {"n": 9}))
    write(tmp_path, line({"a": 1}, {"n": 1}, timestamp="2026-01-01"), name="b.jsonl")
    cassette, warnings = load(tmp_path)
    positions = cassette.find(asked_of_line(late, IGNORED).key)
    assert [cassette.load(position)["response"]["body"]["n"] for position in positions] == [1, 2]
    assert (len(cassette), warnings, cassette.find(b"x" * 16)) == (3, [], [])
    assert len(cassette._index) <= 48 * 3


def test_bad_lines_are_warned_of_and_torn_ones_left_out(tmp_path, monkeypatch):
    """What cannot be replayed by its nature is no fault of anybody."""
    monkeypatch.setattr(files_module, "LONGEST_LINE_BYTES", 3000)
    good = json.dumps(line({"a": 1}, {})).encode() + b"\n"
    write(tmp_path, {"outcome": "complete"}, line({"a": 1}, outcome="timeout"), line(raw="x"))
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(b"x" * 10_000 + b"\n" + b"\n" + b"[]\n" + good + good[:-5])
    cassette, warnings = load(tmp_path)
    assert len(cassette) == 1
    assert [each.partition(" ")[0] for each in warnings] == ["a.jsonl:1", "a.jsonl:4", "a.jsonl:6"]


def test_compressed_files_are_replayed_beside_others(tmp_path):
    """As logrotate or a careful person leaves them; what is asked for again is read again."""
    long = "x" * 100_000
    first = line({"a": 1}, {"n": 1}, timestamp="2026-01-01")
    packed(tmp_path, "old.jsonl.gz", line({"a": 2}, {"n": long}), first)
    packed(tmp_path, "older.jsonl.gz", line({"a": 3}, {"n": 3}))
    write(tmp_path, line({"a": 1}, {"n": 2}, timestamp="2026-01-02"))
    cassette, warnings = load(tmp_path)
    assert (len(cassette), warnings) == (4, [])

    def answers(body):
        positions = cassette.find(asked_of_line(line(body), IGNORED).key)
        return [cassette.load(position)["response"]["body"]["n"] for position in positions]

    for _ in range(2):
        assert [answers({"a": n}) for n in (1, 2, 3)] == [[1, 2], [long], [3]]


def test_a_compressed_file_that_is_torn_is_read_as_far_as_it_goes(tmp_path):
    """And said; so is one that is none."""
    whole = [line({"a": n}, {"n": random.Random(n).randbytes(500).hex()}) for n in range(100)]
    packed(tmp_path, "a.jsonl.gz", *whole)
    data = (tmp_path / "a.jsonl.gz").read_bytes()
    (tmp_path / "a.jsonl.gz").write_bytes(data[: len(data) // 2])
    (tmp_path / "b.jsonl.gz").write_bytes(b"no gzip\n")
    cassette, warnings = load(tmp_path)
    assert 10 < len(cassette) < 90
    assert warnings == [f"{name}.jsonl.gz is torn: what follows is not replayed" for name in "ab"]


def test_what_is_unpacked_has_a_bound(tmp_path, monkeypatch):
    """All compressed files of a directory together; no disk is filled by a small file."""
    one = len(json.dumps(line({"a": 0}, {}))) + 1
    monkeypatch.setattr(cassette_module, "MOST_UNPACKED_BYTES", one * 15)
    for name in ("a", "b"):
        packed(tmp_path, f"{name}.jsonl.gz", *(line({name: n}, {}) for n in range(10)))
    cassette, warnings = load(tmp_path)
    assert 10 <= len(cassette) <= 15
    assert warnings == ["b.jsonl.gz is longer than what is unpacked: its end is not replayed"]


def test_nothing_stays_open_when_a_cassette_goes(tmp_path):
    """A reload makes another one."""
    packed(tmp_path, "a.jsonl.gz", line({"a": 1}, {}))
    before = set(os.listdir("/proc/self/fd"))
    cassette, _ = load(tmp_path)
    assert len(set(os.listdir("/proc/self/fd")) - before) == 1
    del cassette
    assert set(os.listdir("/proc/self/fd")) <= before


def test_a_directory_that_is_none_is_an_error(tmp_path):
    """The start stops."""
    with pytest.raises(OSError, match="is no directory"):
        load(tmp_path / "none")

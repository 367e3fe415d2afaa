"""The exchange log takes no more of the disk than it may."""

import contextlib
import json
import os

import pytest
from observe.exchange_log.test_exchange_log_observer import exchange, write
from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, formatEvent

from openai_proxy.exchange.outcome import Outcome
from openai_proxy.exchange.record import Exchange
from openai_proxy.observe.exchange_log.files import LogDirectory, file_name
from openai_proxy.observe.exchange_log.observer import TRY_AGAIN_S, ExchangeLog
from openai_proxy.observe.exchange_log.options import build
from openai_proxy.observe.exchange_log.quota import DiskQuota, remove_old
from openai_proxy.observe.interfaces import ObserverContext, ObserverOptions
from openai_proxy.observe.publisher import ExchangePublisher
from openai_proxy.observe.spec import parse_spec

LIMIT = 20_000


def size(directory):
    return sum(path.stat().st_size for path in directory.iterdir())


def made(directory, clock, events=None, **options):
    refuses = options.get("refuses", False)
    store = LogDirectory(str(directory), clock=clock.seconds, max_bytes=LIMIT, beyond=refuses)
    log = Logger(observer=(events if events is not None else []).append)
    written = ExchangeLog(store, 10_000, clock=clock.seconds, log=log, **options)
    written.start()
    return written


def test_files_of_all_models_are_bounded_together(tmp_path):
    """Whatever models are named; what is lost is counted, and said once."""
    events = []
    log = made(tmp_path, Clock(), events)
    for number in range(100):
        write(log, exchange(f"m{number % 7}"))
    assert LIMIT * 0.9 < size(tmp_path) <= LIMIT
    written = sum(len(path.read_bytes().splitlines()) for path in tmp_path.iterdir())
    assert log.failures.lost_lines == 100 - written
    assert [event["log_level"] for event in events] == [LogLevel.error]
    assert log.refusal is None


def test_what_was_there_counts_and_room_is_found_again(tmp_path):
    """Files of an earlier run and of other workers count; when they are gone, lines are written again."""
    old = tmp_path / "x_m_20200101.jsonl"
    old.write_bytes(b"x" * (LIMIT - 1) + b"\n")
    clock = Clock()
    log = made(tmp_path, clock)
    write(log, exchange())
    assert log.failures.lost_lines == 1
    old.unlink()
    write(log, exchange())
    assert log.failures.lost_lines == 2
    clock.advance(1)
    write(log, exchange())
    assert log.failures.lost_lines == 2
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_log_refuses_requests_and_still_records_those_that_run(tmp_path):
    """With on_full=refuse nothing that was answered is lost, and refusals do not fill the disk."""
    log = made(tmp_path, Clock(), refuses=True)
    publisher = ExchangePublisher([log], Clock())
    assert publisher.may_refuse
    number = 0
    while publisher.refusal() is None:
        write(log, exchange())
        number += 1
    assert "full" in publisher.refusal()
    write(log, exchange())  # it was running
    assert log.failures.lost_lines == 0
    before = size(tmp_path)
    for outcome in (Outcome.LIMIT, Outcome.REJECTED):
        refused = Exchange(started=1.0, timestamp=1700000000.0, method="POST", path="/v1/x")
        refused.end(outcome, 2.0)
        write(log, refused)
    assert size(tmp_path) == before
    assert log.failures.lost_lines == 2
    lines = (tmp_path / "gpt-4o-mini_20231114.jsonl").read_bytes().splitlines()
    assert len([json.loads(line) for line in lines]) == number + 1


def test_a_disk_that_fails_refuses_requests(tmp_path):
    """A line that could not be written stops new requests for a while, whatever the reason."""
    clock, events = Clock(), []
    log = made(tmp_path, clock, events, refuses=True)
    log._store.append = lambda name, lines: (_ for _ in ()).throw(OSError(28, "no space"))
    assert log.refusal() is None
    write(log, exchange())
    assert "cannot write" in log.refusal()
    assert formatEvent(events[0]).endswith("no space; new requests are refused")  # it said that they go on
    clock.advance(TRY_AGAIN_S)
    assert log.refusal() is None


def test_old_files_are_removed_and_others_stay(tmp_path):
    """Only what is named as the log names its files goes, by the day in its name."""
    day = 86400
    names = ["a_m_20231104.jsonl", "a_m_20231105.jsonl", "m_20231114.jsonl", "notes_20200101.txt", "x.jsonl"]
    for name in names:
        (tmp_path / name).write_text("{}\n")
    assert remove_old(str(tmp_path), 10, 1700000000.0) == ["a_m_20231104.jsonl"]
    rotated = [
        f"a_m_20231103.jsonl{end}" for end in (".gz", ".1", ".2.gz", "-20231104", "-20231104.gz", ".zst")
    ]
    others = ["a_m_20231103.jsonl.bak", "a_m_20231103.gz", "a_m_20231105.jsonl.1.gz"]
    for name in (*rotated, *others):
        (tmp_path / name).write_text("{}\n")
    assert sorted(remove_old(str(tmp_path), 10, 1700000000.0)) == sorted(rotated)
    for name in others:
        (tmp_path / name).unlink()
    now = [1700000000.0]
    clock = Clock()
    store = LogDirectory(str(tmp_path), clock=clock.seconds, keep_days=2, wall_clock=lambda: now[0])
    store.start()
    assert sorted(os.listdir(tmp_path)) == ["m_20231114.jsonl", "notes_20200101.txt", "x.jsonl"]
    now[0] += 2 * day
    clock.advance(1)
    store.append("m_20231116.jsonl", b"{}\n")
    assert sorted(os.listdir(tmp_path)) == ["m_20231116.jsonl", "notes_20200101.txt", "x.jsonl"]
    store.stop()


def test_several_workers_remove_the_same_files(tmp_path):
    """Each begins its day by itself; one that finds a file gone goes on with the others."""
    stores = [
        LogDirectory(str(tmp_path), clock=Clock().seconds, keep_days=1, wall_clock=lambda: now[0])
        for _ in range(2)
    ]
    now = [1700000000.0]
    for store in stores:
        store.start()
    stores[0].append("m_20231114.jsonl", b"{}\n")
    now[0] = 1700006399.0  # a second before midnight in UTC
    for store in stores:
        store._remove_old()
    assert os.listdir(tmp_path) == ["m_20231114.jsonl"]
    now[0] += 1
    for store in stores:
        store._remove_old()
    assert os.listdir(tmp_path) == []
    for store in stores:
        store.stop()


@pytest.mark.parametrize(
    "spec", ["max_bytes=0", "max_bytes=x", "keep_days=0", "on_full=stop", "keep_days=1.5"]
)
def test_bad_options_are_told(tmp_path, spec):
    """One line, before the daemon starts."""
    options = ObserverOptions(parse_spec(f"exchange-log:dir={tmp_path}:{spec}"), ObserverContext(Clock()))
    with pytest.raises(ValueError, match=spec.partition("=")[0]):
        build(options)


def test_a_remote_log_is_bounded_by_its_spool(tmp_path):
    """max_bytes means files here."""
    spec = parse_spec(rf"exchange-log:url=file\:///x:spool={tmp_path}:max_bytes=5")
    with pytest.raises(ValueError, match="spool_bytes"):
        build(ObserverOptions(spec, ObserverContext(Clock())))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "b_gpt-4"), ("a_b", "gpt-4")),
        (("a", "b/gpt-4"), ("a/b", "gpt-4")),
        (("a", "b_c_d"), ("a_b_c", "d")),
        (("a-b", "c"), ("a_b", "c")),
        (("a b", "c"), ("a_b", "c")),
    ],
)
def test_no_two_keys_share_a_file(one, other):
    """However a tenant calls its model."""
    names = [file_name(exchange(model, key)) for key, model in (one, other)]
    assert names[0] != names[1]


def test_ordinary_names_keep_their_form():
    """As documented."""
    assert file_name(exchange("gpt-4o-mini", "alice")) == "alice_gpt-4o-mini_20231114.jsonl"
    assert file_name(exchange("org/a_model", "alice")) == "alice_org_a_model_20231114.jsonl"
    assert file_name(exchange("org/model")) == "org_model_20231114.jsonl"


def test_a_file_that_is_removed_while_all_are_measured_counts_nothing(tmp_path, monkeypatch):
    """Another worker removes old files at midnight, or logrotate does: the line that came then was lost."""
    scandir = os.scandir

    def scanned(directory):
        with scandir(directory) as entries:
            found = list(entries)
        (tmp_path / "a_20250101.jsonl").unlink()
        return contextlib.nullcontext(found)

    for day in ("20250101", "20260101"):
        (tmp_path / f"a_{day}.jsonl").write_bytes(b"x" * 60)
    monkeypatch.setattr(os, "scandir", scanned)
    quota = DiskQuota(str(tmp_path), 100)
    assert quota.has_room(40, 0.0)
    assert not quota.has_room(41, 0.0)

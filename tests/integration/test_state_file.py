"""The SQLite file under real threads and several real processes."""

import json
import os
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import pytest_twisted
from logged import log_lines
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from world.waiting import PATIENCE_S

from openai_proxy.cost.budget import Account, Need
from openai_proxy.cost.file_budgets import FileBudgets
from openai_proxy.cost.ledger import SharedLedger
from openai_proxy.cost.state_file import StateFile, StateFileClosed, open_database
from openai_proxy.cost.stores import CostStores

DAY = Account("alice", "2026-11-21")


@pytest_twisted.async_yield_fixture
async def file(tmp_path):
    file = StateFile(tmp_path / "state.sqlite3", reactor)
    file.start()
    yield file
    await file.stop()


@pytest.fixture
def logged():
    """What the log says of the file."""
    with log_lines("openai_proxy.cost") as lines:
        yield lines


def reserve(ledger, usd, limit_usd=10.0):
    return Deferred.fromCoroutine(ledger.reserve(DAY, Need(usd, limit_usd)))


def rows(path):
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT spent_usd, held_usd FROM spending").fetchall()
    connection.close()
    return found


@pytest_twisted.ensureDeferred
async def test_fifty_parallel_requests_keep_one_budget(file):
    """Reserved, settled and written off the reactor's thread."""
    keeper = FileBudgets(file)
    keeper.start()
    ledger = SharedLedger(keeper, reactor)
    granted = [each for each in await gatherResults(reserve(ledger, 1.0) for _ in range(50)) if each]
    assert len(granted) == 10
    for reservation in granted:
        ledger.settle(reservation, 0.5)
    await ledger.stop()
    assert rows(file.path) == [(5.0, 0.0)]


@pytest_twisted.ensureDeferred
async def test_a_locked_file_holds_no_request_and_loses_no_money(file, logged):
    """Somebody's shell locks it: this is logged once, the process decides by itself, and writes afterwards."""
    keeper = FileBudgets(file)
    keeper.start()
    ledger = SharedLedger(keeper, reactor)
    ledger.settle(await reserve(ledger, 1.0), 1.0)
    await ledger.balance(DAY)
    shell = sqlite3.connect(file.path, isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")
    first = await reserve(ledger, 6.0)
    assert first.usd == 6.0
    assert await reserve(ledger, 6.0) is None
    ledger.settle(first, 4.0)
    end = time.monotonic() + PATIENCE_S
    while ledger._books[DAY].busy and time.monotonic() < end:
        await deferLater(reactor, 0.01)
    shell.execute("ROLLBACK")
    shell.close()
    await ledger.stop()
    assert rows(file.path) == [(5.0, 0.0)]
    assert [line.rpartition(str(file.path))[2] for line in logged] == [
        ": database is locked; budgets and totals are kept in memory, requests go on",
        " is written again",
    ]


@pytest_twisted.ensureDeferred
async def test_a_file_that_was_removed_or_replaced_is_no_place_for_money(file, logged):
    """What went into the removed file was lost at the end without a word, and new client keys with it."""
    keeper = FileBudgets(file)
    keeper.start()
    ledger = SharedLedger(keeper, reactor)
    aside = file.path.with_name("aside")
    for elsewhere in (lambda: None, lambda: file.path.write_bytes(b"a backup that was put back")):
        file.path.rename(aside)
        elsewhere()
        ledger.settle(await reserve(ledger, 1.0), 2.0)
        await ledger.balance(DAY)
        assert ledger.unwritten() == {DAY: 2.0}
        aside.rename(file.path)
        await ledger.balance(DAY)
        assert ledger.unwritten() == {}
    await ledger.stop()
    assert rows(file.path) == [(4.0, 0.0)]
    assert [line.rpartition(str(file.path))[2] for line in logged] == [
        ": it was removed or replaced while in use: put it back, or restart; budgets and totals are kept in"
        " memory, requests go on",
        " is written again",
    ] * 2


@pytest.mark.parametrize("what", ["a second connection", "another configuration"])
def test_a_file_that_is_open_here_keeps_its_locks(tmp_path, what):
    """With the key store in the same file, a process that ended took the write-ahead log away, and money with it."""
    path = tmp_path / "state.sqlite3"
    stores = CostStores(reactor)
    stores.file(path)
    connection = open_database(path)
    if what == "a second connection":
        open_database(path).close()
    else:
        stores.file(path)
    connection.execute("INSERT INTO objects VALUES ('id', 'alice', 0)")
    other = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT * FROM objects').fetchall()"
    subprocess.run([sys.executable, "-c", other, str(path)], check=True)
    assert path.with_name("state.sqlite3-wal").exists()
    connection.close()


@pytest_twisted.ensureDeferred
async def test_work_that_refuses_something_is_no_failing_file(file, logged):
    """A full key store was reported as a file that cannot be used, without a reason."""

    def refuse(connection):
        raise LookupError

    for _ in range(2):
        with pytest.raises(LookupError):
            await file.run(refuse)
    assert await file.run(lambda connection: connection.execute("PRAGMA busy_timeout").fetchone()) == (1000,)
    assert logged == []


@pytest_twisted.ensureDeferred
async def test_work_after_the_end_fails_and_stopping_twice_does_not(tmp_path):
    """A request that ends late finds a closed file."""
    file = StateFile(tmp_path / "state.sqlite3", reactor)
    file.start()
    await file.stop()
    await file.stop()
    with pytest.raises(StateFileClosed):
        await file.run(lambda connection: None)


PROCESS = textwrap.dedent("""
    import json, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from cost.sync_file import SyncFile
    from openai_proxy.cost.budget import Account, Balance, Need
    from openai_proxy.cost.file_budgets import FileBudgets

    file = SyncFile(Path(sys.argv[1]), 30.0)
    keeper = FileBudgets(file)
    keeper.start()
    spent, granted, errors = 0.0, 0, []
    for _ in range(200):
        answers = []
        account = Account("alice", "2026-11-21")
        judged = keeper.judge(account, Balance(spent, 0.0), [Need(0.25, 50.0)])
        judged.addCallbacks(answers.append, lambda failure: errors.append(str(failure.value)))
        if answers and answers[0][0][0]:
            granted += 1
            spent += 0.25
    keeper.judge(account, Balance(spent, 0.0), [])
    print(json.dumps([granted, errors]))
    file.close()
""")


def test_processes_over_one_file_spend_one_budget(tmp_path):
    """Four at once get together exactly what it holds."""
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "state.sqlite3"), tests]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
    results = [json.loads(process.communicate(timeout=300)[0]) for process in running]
    assert [errors for _, errors in results] == [[], [], [], []]
    assert sum(granted for granted, _ in results) == 200
    assert sum(spent for spent, _ in rows(tmp_path / "state.sqlite3")) == 50.0


@pytest_twisted.ensureDeferred
async def test_reading_is_no_sign_that_writing_works_again(file, logged):
    """A full disk can be read: the log does not say the one and the other in turn."""
    bad = file.run(lambda connection: connection.execute("INSERT INTO spending VALUES (1)"))
    bad.addErrback(lambda failure: failure.trap(sqlite3.Error))
    await bad
    await file.run(lambda connection: connection.execute("SELECT 1").fetchall())
    assert len(logged) == 1
    await file.run(lambda connection: connection.execute("INSERT INTO spending VALUES ('k','p','o',1,0,0)"))
    assert len(logged) == 2


@pytest_twisted.ensureDeferred
async def test_a_directory_that_cannot_be_searched_for_a_while_changes_nothing(file, monkeypatch):
    """Only a file that is certainly gone or another one is not written any more; and no work stays without an end."""
    stat = os.stat

    def refused(path, *arguments, **options):
        if path == file.path:
            raise PermissionError(13, "Permission denied")
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", refused)
    assert await file.run(lambda connection: connection.execute("SELECT 1").fetchone()) == (1,)

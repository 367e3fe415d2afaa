"""Budgets in a real SQLite file: shared, kept, freed."""

import sqlite3
import stat

import pytest
from cost.sync_file import SyncFile
from fakes import result_of

from openai_proxy.cost.budget import Account, Balance, Need, PendingCall
from openai_proxy.cost.budget_store import LEASE_S
from openai_proxy.cost.file_budgets import KEPT_S, FileBudgets
from openai_proxy.cost.state_file import do_together, open_database

DAY = Account("alice", "2026-11-21")


@pytest.fixture
def processes(tmp_path):
    processes = Processes(tmp_path / "state.sqlite3")
    yield processes
    for file in processes.files:
        file.close()


class Processes:
    """Processes that share a file of budgets."""

    def __init__(self, path):
        self.path = path
        self.now = 1000.0
        self.files = []

    def store(self):
        """Return the store of another process."""
        self.files.append(SyncFile(self.path))
        store = FileBudgets(self.files[-1], lambda: self.now)
        store.start()
        return store


NOTHING = Balance()


def judged(store, own=NOTHING, *wanted, account=DAY, limit_usd=10.0):
    return result_of(store.judge(account, own, [Need(usd, limit_usd) for usd in wanted]))


def test_processes_see_what_others_spent_and_hold(processes):
    """Two daemons over one file share one budget."""
    here, there = processes.store(), processes.store()
    assert judged(here, Balance(2.0, 0.0), 3.0) == ([3.0], Balance())
    assert judged(there, Balance(), 6.0, 5.0) == ([None, 5.0], Balance(2.0, 3.0))
    assert judged(here, Balance(2.0, 3.0), 0.5) == ([None], Balance(0.0, 5.0))


def test_accounts_know_nothing_of_each_other(processes):
    """Another key, and the next day, begin at nothing."""
    store = processes.store()
    judged(store, Balance(9.0, 0.0))
    other = processes.store()
    assert judged(other, Balance(), 9.0, account=Account("bob", DAY.period))[0] == [9.0]
    assert judged(other, Balance(), 9.0, account=Account("alice", "2026-11-22"))[0] == [9.0]


def test_writing_the_same_again_changes_nothing(processes):
    """A lost answer does no harm: sums are written, not differences."""
    store = processes.store()
    for _ in range(3):
        judged(store, Balance(4.0, 1.0))
    assert judged(processes.store())[1] == Balance(4.0, 1.0)


def test_a_restart_keeps_what_was_spent_and_frees_in_time_what_was_held(processes):
    """A process that was killed leaves its reservations for a lease's length."""
    judged(processes.store(), Balance(4.0, 0.0), 3.0)
    restarted = processes.store()
    assert judged(restarted)[1] == Balance(4.0, 3.0)
    processes.now += LEASE_S
    assert judged(restarted)[1] == Balance(4.0, 0.0)


def test_what_is_set_free_before_anything_is_spent_is_free_for_all(processes):
    """A request that cost nothing, or a call that is kept, went on to fill the others' budget for a minute."""
    here, there = processes.store(), processes.store()
    judged(here, Balance(), 4.0)
    assert judged(there)[1] == Balance(0.0, 4.0)
    judged(here, Balance())
    assert judged(there)[1] == Balance()


def test_looking_writes_nothing(processes):
    """Only money makes a row."""
    store = processes.store()
    judged(store, Balance(), 0.0)
    assert processes.files[0].connection.execute("SELECT COUNT(*) FROM spending").fetchone() == (0,)


def test_old_accounts_are_dropped_at_start(processes):
    """The file does not grow for ever."""
    judged(processes.store(), Balance(1.0, 0.0))
    processes.now += KEPT_S + LEASE_S + 1
    processes.store()
    assert processes.files[0].connection.execute("SELECT COUNT(*) FROM spending").fetchone() == (0,)


def test_only_the_owner_reads_the_file(processes):
    """Who spent how much is nobody else's business."""
    processes.store()
    assert stat.S_IMODE(processes.path.stat().st_mode) == 0o600


def test_what_is_no_database_is_refused_by_name(tmp_path):
    """A file of something else is not overwritten."""
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but quite long enough to be looked at " * 30)
    with pytest.raises(OSError, match=r"notes\.txt"):
        open_database(path)
    assert path.read_text().startswith("not a database")


def test_a_file_of_a_later_version_is_refused(tmp_path):
    """Its meaning is not known here."""
    path = tmp_path / "later.sqlite3"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=9")
    connection.close()
    with pytest.raises(OSError, match="newer version"):
        open_database(path)


def test_a_directory_that_is_not_there_is_named(tmp_path):
    """The operator sees the path."""
    with pytest.raises(OSError, match="missing"):
        open_database(tmp_path / "missing" / "state.sqlite3")


def test_work_that_fails_takes_nothing_with_it(processes):
    """Others of the same transaction are done again without it."""
    processes.store()
    connection = processes.files[0].connection

    def write(key):
        return lambda connection: (
            connection.execute("INSERT INTO spending VALUES (?, 'p', 'o', 1, 0, 0)", (key,)).rowcount
        )

    results = do_together(connection, [write("a"), write("a"), write("b")])
    assert [results[0], results[2]] == [1, 1]
    assert results[1].check(sqlite3.IntegrityError)
    assert connection.execute("SELECT COUNT(*) FROM spending").fetchone() == (2,)


def test_a_pending_call_holds_its_money_over_restarts_and_is_charged_once(processes):
    """Whichever process is asked first charges it; the row is gone in the same step."""
    call = PendingCall("resp_1", DAY, 4.0)
    here = processes.store()
    result_of(here.hold(call))
    there, after = processes.store(), processes.store()
    assert judged(there) == ([], Balance(0.0, 4.0))
    assert result_of(after.find("resp_1")) == call
    assert result_of(after.find("resp_2")) is None
    assert (result_of(there.take(call, 2.5)), result_of(after.take(call, 2.5))) == (True, False)
    assert result_of(after.find("resp_1")) is None
    assert judged(after) == ([], Balance(2.5, 0.0))
    assert judged(there, Balance(2.5, 0.0)) == ([], Balance(0.0, 0.0))

"""Work on the SQLite file when the disk itself fails."""

import sqlite3

import pytest
from twisted.python.failure import Failure

from openai_proxy.cost.state_file import OPEN_WITHIN_S, StateFile, check_header, do_together, open_database


def test_what_cannot_be_opened_is_found_without_opening_it(tmp_path):
    """`openai-proxy check` passed a restored backup that the start refused."""
    path = tmp_path / "state.sqlite3"
    check_header(path)
    path.write_bytes(b"")
    check_header(path)
    open_database(path).close()
    check_header(path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"is of a newer version of this program \(format 99\)$"):
        check_header(path)
    assert path.read_bytes() == before
    for text in (b"x", b"garbage" * 100):
        path.write_bytes(text)
        with pytest.raises(ValueError, match=r"file is not a database$"):
            check_header(path)
    assert [each.name for each in tmp_path.iterdir()] == ["state.sqlite3"]


def test_a_new_file_is_for_its_owner_only(tmp_path):
    """Also where a link to it was there first: SQLite itself would let everybody read it."""
    (tmp_path / "link").symlink_to(tmp_path / "linked")
    for name in ("linked", "plain"):
        open_database(tmp_path / ("link" if name == "linked" else name)).close()
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_workers_that_start_together_do_not_wait_for_each_others_writes(tmp_path):
    """Each wrote the version again, one sync of the disk after the other; the last was refused on a slow disk."""
    first = open_database(tmp_path / "f", synchronous="FULL")
    before = first.execute("PRAGMA data_version").fetchone()
    open_database(tmp_path / "f", synchronous="FULL").close()
    assert first.execute("PRAGMA data_version").fetchone() == before
    first.close()


def test_what_a_start_reads_waits_as_long_for_other_starts_as_its_opening(tmp_path):
    """The stored keys were given up after a second, and the daemon ended with `database is locked`."""
    file = StateFile(tmp_path / "f", None)
    file._connection = open_database(tmp_path / "f")
    assert file.run_now(lambda connection: connection.execute("PRAGMA busy_timeout").fetchone()) == (
        1000 * OPEN_WITHIN_S,
    )
    file._connection.close()


class BrokenDisk(sqlite3.Connection):
    """A file that can neither be written nor, while `torn`, be put back."""

    torn = True

    def execute(self, statement, *arguments):
        if statement in ("COMMIT", "ROLLBACK") and self.torn:
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(statement, *arguments)


def test_work_that_can_not_be_undone_fails_like_any_other(tmp_path):
    """Else nobody ever hears of it again: every request of a key with a budget would hang."""
    connection = sqlite3.connect(tmp_path / "f", isolation_level=None, factory=BrokenDisk)
    works = [lambda connection: connection.execute("SELECT 1").fetchone()] * 2
    results = do_together(connection, works)
    assert [str(result.value) for result in results] == ["disk I/O error"] * 2
    connection.torn = False
    results = do_together(connection, works)
    connection.close()
    assert not [result for result in results if isinstance(result, Failure)]

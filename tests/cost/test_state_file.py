"""Work on the SQLite file when the disk itself fails."""

import sqlite3

from twisted.python.failure import Failure

from openai_proxy.cost.state_file import do_together


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

"""A state file whose work is done at once, for tests without a reactor."""

import sqlite3
import weakref

from twisted.internet.defer import execute

from openai_proxy.cost.state_file import do_together, open_database


class SyncFile:
    """Looks like a StateFile; `failing` makes everything fail, `patience_s` is for other processes."""

    def __init__(self, path, patience_s=1.0):
        self.path = path
        self.patience_s = patience_s
        self.connection = open_database(path)
        weakref.finalize(
            self, self.connection.close
        )  # from Python 3.13 on, one that nobody closes is an error
        self.failing = False

    def run(self, work):
        return execute(self._do, work).addCallback(lambda result: result)

    def _do(self, work):
        if self.failing:
            raise sqlite3.OperationalError("database or disk is full")
        (result,) = do_together(self.connection, [work], self.patience_s)
        return result

    def close(self):
        self.connection.close()

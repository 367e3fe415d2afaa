"""A state file whose work is done at once, for tests without a reactor."""

from twisted.internet.defer import maybeDeferred

from openai_proxy.cost.state_file import _in_transaction, open_database


class SyncFile:
    """Looks like a StateFile; `failing` makes everything fail."""

    def __init__(self, path):
        self.path = path
        self.connection = open_database(path)
        self.failing = False

    def run(self, work):
        if self.failing:
            return maybeDeferred(self._fail)
        return maybeDeferred(_in_transaction, self.connection, work)

    def _fail(self):
        raise OSError("disk full")

    def close(self):
        self.connection.close()

"""Stores of keys for tests: in memory, and one that can be away."""

from twisted.internet.defer import execute, fail, succeed

from openai_proxy.daemon.key_store.store import Snapshot


class MemoryKeys:
    """A store for several processes; `away` makes everything fail."""

    def __init__(self):
        self.records, self.revision, self.minutes, self.away = {}, 0, {}, False
        self.reads = 0

    def read(self, last_revision):
        self.reads += 1
        if self.away:
            return fail(OSError("away"))
        if last_revision == str(self.revision):
            return succeed(None)
        return succeed(Snapshot(str(self.revision), dict(self.records)))

    def put(self, name, old, new):
        return fail(OSError("away")) if self.away else execute(self._put, name, old, new)

    def _put(self, name, old, new):
        if self.records.get(name) != old:
            return False
        self.revision += 1
        if new is None:
            del self.records[name]
        else:
            self.records[name] = new
        return True

    def note_uses(self, uses):
        if self.away:
            return fail(OSError("away"))
        self.minutes |= uses
        return succeed(None)

    def uses(self):
        return fail(OSError("away")) if self.away else succeed(dict(self.minutes))

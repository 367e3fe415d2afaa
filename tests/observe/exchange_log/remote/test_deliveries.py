"""A round delivers all that waits; what fails waits on."""

import pytest

from openai_proxy.observe.exchange_log.remote.claims import claim_own
from openai_proxy.observe.exchange_log.remote.deliveries import ADOPT_EVERY_S, Deliveries
from openai_proxy.observe.exchange_log.remote.spool import KEEP_S, Spool


class Store:
    """Takes batches, but for the names that it refuses."""

    def __init__(self):
        self.taken = []
        self.refused = set()
        self.closed = False

    def deliver(self, batch):
        if batch.name in self.refused:
            raise ConnectionError
        self.taken.append((batch.instance, batch.name, batch.read(0, batch.size)))

    def close(self):
        self.closed = True

    @property
    def lines(self):
        return [data for _, _, data in self.taken]


class SpooledLog:
    """A spool, and what delivers it to a store."""

    def __init__(self, root):
        self.root = str(root)
        self.now = 0.0
        self.store = Store()
        self.spool = self.another()
        self.deliveries = Deliveries(self.spool, self.root, self.connect, lambda: self.now)
        self.connected = 0

    def another(self):
        spool = Spool(claim_own(self.root), 1 << 30)
        spool.open()
        return spool

    def connect(self):
        self.connected += 1
        return self.store

    def put(self, *names):
        for name in names:
            self.spool.append(f"{name}_20260101.jsonl", name.encode() + b"\n")


def test_connects_when_something_waits(tmp_path):
    """A daemon without requests asks no store for anything."""
    spooled = SpooledLog(tmp_path)
    spooled.deliveries.round()
    assert spooled.connected == 0
    spooled.put("a", "b")
    spooled.deliveries.round()
    spooled.put("a")
    spooled.deliveries.round()
    assert (spooled.connected, spooled.store.lines) == (1, [b"a\n", b"b\n", b"a\n"])
    assert spooled.deliveries.waiting_bytes == 0


def test_bad_names_do_not_hold_up_the_others(tmp_path):
    """What a store refuses for ever comes last."""
    spooled = SpooledLog(tmp_path)
    spooled.put("bad", "a", "worse", "b")
    spooled.store.refused = {"bad_20260101.jsonl", "worse_20260101.jsonl"}
    for _ in range(3):
        with pytest.raises(ConnectionError):
            spooled.deliveries.round()
    assert sorted(set(spooled.store.lines)) == [b"a\n", b"b\n"]
    assert spooled.deliveries.waiting_bytes >= 10
    spooled.store.refused = set()
    spooled.deliveries.round()
    assert spooled.deliveries.waiting_bytes == 0


def test_nothing_begins_after_the_deadline(tmp_path):
    """The end of the daemon is not held up by a large spool."""
    spooled = SpooledLog(tmp_path)
    spooled.put("a", "b")
    spooled.deliveries.round(until=0.0)
    assert (spooled.store.lines, spooled.deliveries.waiting_bytes) == ([], 4)


def test_left_behind_spools_are_shipped_and_given_free(tmp_path):
    """What a dead process left is shipped by another one, as its own."""
    spooled = SpooledLog(tmp_path)
    dead, running = spooled.another(), spooled.another()
    dead.append("x_20260101.jsonl", b"x\n")
    dead.close()
    running.append("y_20260101.jsonl", b"y\n")
    spooled.deliveries.round()
    assert spooled.store.taken == []
    spooled.now = ADOPT_EVERY_S
    spooled.deliveries.round()
    assert spooled.store.taken == [(dead.directory[-8:], "x_20260101.jsonl", b"x\n")]
    spooled.now += KEEP_S
    spooled.deliveries.round()
    assert spooled.another().directory == dead.directory


def test_batches_taken_away_are_counted(tmp_path):
    """Files removed by hand are lost, and said to be; the rest goes on."""
    spooled = SpooledLog(tmp_path)
    spooled.put("a", "b")
    spooled.spool.take("a_20260101.jsonl")[0].remove()
    spooled.deliveries.round()
    assert (spooled.store.lines, spooled.deliveries.lost_batches) == ([b"b\n"], 1)


def test_close_gives_everything_free(tmp_path):
    """The next process finds what still waits."""
    spooled = SpooledLog(tmp_path)
    spooled.put("a")
    spooled.deliveries.round()
    spooled.put("b")
    spooled.deliveries.close()
    assert spooled.store.closed
    assert spooled.another().directory == spooled.spool.directory

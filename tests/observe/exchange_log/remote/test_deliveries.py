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


class World:
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
    world = World(tmp_path)
    world.deliveries.round()
    assert world.connected == 0
    world.put("a", "b")
    world.deliveries.round()
    world.put("a")
    world.deliveries.round()
    assert (world.connected, world.store.lines) == (1, [b"a\n", b"b\n", b"a\n"])
    assert world.deliveries.waiting_bytes == 0


def test_bad_names_do_not_hold_up_the_others(tmp_path):
    """What a store refuses for ever comes last."""
    world = World(tmp_path)
    world.put("bad", "a", "worse", "b")
    world.store.refused = {"bad_20260101.jsonl", "worse_20260101.jsonl"}
    for _ in range(3):
        with pytest.raises(ConnectionError):
            world.deliveries.round()
    assert sorted(set(world.store.lines)) == [b"a\n", b"b\n"]
    assert world.deliveries.waiting_bytes >= 10
    world.store.refused = set()
    world.deliveries.round()
    assert world.deliveries.waiting_bytes == 0


def test_nothing_begins_after_the_deadline(tmp_path):
    """The end of the daemon is not held up by a large spool."""
    world = World(tmp_path)
    world.put("a", "b")
    world.deliveries.round(until=0.0)
    assert (world.store.lines, world.deliveries.waiting_bytes) == ([], 4)


def test_left_behind_spools_are_shipped_and_given_free(tmp_path):
    """What a dead process left is shipped by another one, as its own."""
    world = World(tmp_path)
    dead, running = world.another(), world.another()
    dead.append("x_20260101.jsonl", b"x\n")
    dead.close()
    running.append("y_20260101.jsonl", b"y\n")
    world.deliveries.round()
    assert world.store.taken == []
    world.now = ADOPT_EVERY_S
    world.deliveries.round()
    assert world.store.taken == [(dead.directory[-8:], "x_20260101.jsonl", b"x\n")]
    world.now += KEEP_S
    world.deliveries.round()
    assert world.another().directory == dead.directory


def test_batches_taken_away_are_counted(tmp_path):
    """Files removed by hand are lost, and said to be; the rest goes on."""
    world = World(tmp_path)
    world.put("a", "b")
    world.spool.take("a_20260101.jsonl")[0].remove()
    world.deliveries.round()
    assert (world.store.lines, world.deliveries.lost_batches) == ([b"b\n"], 1)


def test_close_gives_everything_free(tmp_path):
    """The next process finds what still waits."""
    world = World(tmp_path)
    world.put("a")
    world.deliveries.round()
    world.put("b")
    world.deliveries.close()
    assert world.store.closed
    assert world.another().directory == world.spool.directory

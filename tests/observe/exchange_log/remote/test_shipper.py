"""The shipping thread ends in time, whatever the store does."""

import threading

from twisted.internet.task import Clock
from twisted.logger import Logger, formatEvent

from openai_proxy.observe.exchange_log.remote.claims import claim_own
from openai_proxy.observe.exchange_log.remote.deliveries import Deliveries
from openai_proxy.observe.exchange_log.remote.shipper import Shipper
from openai_proxy.observe.exchange_log.remote.spool import Spool

PATIENCE_S = 60


class Reactor(Clock):
    """A clock that keeps what the thread wants called."""

    def __init__(self):
        super().__init__()
        self.wanted = []
        self.called = threading.Event()

    def callFromThread(self, function, *args, **named):
        self.wanted.append(lambda: function(*args, **named))
        self.called.set()


class Store:
    """Takes batches when it is let."""

    def __init__(self):
        self.asked = threading.Event()
        self.let = threading.Event()

    def deliver(self, batch):
        self.asked.set()
        assert self.let.wait(PATIENCE_S)

    def close(self):
        pass


def shipping(root):
    spool = Spool(claim_own(str(root)), 1 << 30)
    spool.open()
    spool.append("m_20260101.jsonl", b"1\n")
    reactor, store, said = Reactor(), Store(), []
    log = Logger("test", observer=lambda event: said.append(formatEvent(event)))
    shipper = Shipper(Deliveries(spool, str(root), lambda: store), spool, "az://logs", reactor, log)
    shipper.start()
    return shipper, reactor, store, said


def test_last_round_ships_what_waits(tmp_path):
    """The daemon's end does not wait for the next round, but for its own."""
    shipper, reactor, store, said = shipping(tmp_path)
    store.let.set()
    ended = shipper.stop()
    assert reactor.called.wait(PATIENCE_S)
    for call in reactor.wanted:
        call()
    assert ended.called
    assert reactor.getDelayedCalls() == []
    assert said == []


def test_store_that_hangs_does_not_hold_the_end_up(tmp_path):
    """After a few seconds the daemon ends, and says what waits where."""
    shipper, reactor, store, said = shipping(tmp_path)
    ended = shipper.stop()
    assert store.asked.wait(PATIENCE_S)
    reactor.advance(3)
    assert not ended.called
    reactor.advance(1)
    assert ended.called
    (line,) = said
    assert line.startswith(f"2 bytes of the exchange log stay in {tmp_path}")
    store.let.set()
    assert reactor.called.wait(PATIENCE_S)
    for call in reactor.wanted:
        call()

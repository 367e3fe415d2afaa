"""How upstreams that are out are found again without a client's request."""

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from openai_proxy.exchange.upstream_errors import UpstreamUnreachable
from openai_proxy.policies.routing.prober import PROBE_S, Prober
from openai_proxy.policies.routing.table import Upstream

A = Upstream("a", "http://a/v1")
B = Upstream("b", "http://b/v1")
REFUSED = UpstreamUnreachable(sent="no")


class Outage:
    """Two upstreams that are out; `probes` are the probes running, by URL."""

    def __init__(self, draw=0.0, probe=None):
        self.clock = Clock()
        self.out = {"a", "b"}
        self.reports = []
        self.probes = {}
        self.cancelled = []
        self.prober = Prober(
            self, probe or self.probe, timers=self.clock, clock=self.clock.seconds, draw=lambda: draw
        )

    def wants_probe(self, upstream):
        return upstream.name in self.out

    def probed(self, upstream, reached, now, reason):
        self.reports.append((upstream.name, reached, now))

    def probe(self, upstream):
        url = upstream.base_url
        assert url not in self.probes
        self.probes[url] = Deferred(lambda _: self.cancelled.append(url))
        return self.probes[url]

    def answer(self, url, reached):
        probe = self.probes.pop(url)
        if reached:
            probe.callback(None)
        else:
            probe.errback(Failure(REFUSED))


def test_nothing_runs_while_all_is_well():
    """No timer is made before an upstream is out."""
    outage = Outage()
    assert outage.clock.getDelayedCalls() == []
    outage.prober.stop()


@pytest.mark.parametrize(("draw", "wait_s"), [(0.0, 0.5 * PROBE_S), (1.0, PROBE_S)])
def test_probes_go_on_until_one_gets_through(draw, wait_s):
    """Each comes less than a second after the last one; then the timer is gone."""
    outage = Outage(draw)
    outage.prober.watch(A)
    outage.prober.watch(A)
    for round_ in (1, 2):
        outage.clock.advance(wait_s - 0.01)
        assert outage.probes == {}
        outage.clock.advance(0.01)
        outage.answer("http://a/v1", round_ == 2)
    assert [(name, reached) for name, reached, _ in outage.reports] == [("a", False), ("a", True)]
    assert [now for *_, now in outage.reports] == pytest.approx([wait_s, 2 * wait_s])
    outage.clock.advance(PROBE_S)
    assert (outage.probes, outage.clock.getDelayedCalls()) == ({}, [])


def test_a_slow_probe_is_waited_for_and_holds_nobody_else_up():
    """At most one runs for each upstream; another one has its own."""
    outage = Outage()
    outage.prober.watch(A)
    outage.clock.advance(PROBE_S)
    outage.prober.watch(B)
    for _ in range(3):
        outage.clock.advance(PROBE_S)
        outage.answer("http://b/v1", False)
    assert list(outage.probes) == ["http://a/v1"]
    assert [name for name, *_ in outage.reports] == ["b", "b", "b"]
    outage.prober.stop()


def test_an_upstream_that_a_late_answer_cleared_is_not_probed():
    """A request that was on its way has closed the circuit."""
    outage = Outage()
    outage.prober.watch(A)
    outage.out.clear()
    outage.clock.advance(PROBE_S)
    assert (outage.probes, outage.reports, outage.clock.getDelayedCalls()) == ({}, [], [])


def test_stopping_ends_timers_and_probes():
    """After a reload the old one does nothing any more, whatever old requests still tell it."""
    outage = Outage()
    outage.prober.watch(A)
    outage.clock.advance(PROBE_S)
    outage.prober.stop()
    outage.prober.stop()
    outage.prober.watch(B)
    assert outage.cancelled == ["http://a/v1"]
    assert (outage.reports, outage.clock.getDelayedCalls()) == ([], [])


def test_a_probe_that_answers_at_once_is_heard():
    """Nothing depends on the answer coming later."""
    outage = Outage(probe=lambda url: succeed(None))
    outage.prober.watch(A)
    outage.clock.advance(PROBE_S)
    assert [(name, reached) for name, reached, _ in outage.reports] == [("a", True)]
    assert outage.clock.getDelayedCalls() == []

"""What one worker finds out of an upstream, and the other takes over."""

import pytest
from workers.links import linked

from openai_proxy.exchange.upstream_errors import UpstreamUnreachable
from openai_proxy.policies.routing.health import UpstreamHealth
from openai_proxy.policies.routing.health_news import KeyNews
from openai_proxy.policies.routing.table import Upstream
from openai_proxy.workers.link import Link
from openai_proxy.workers.shared_health import MOST_NEWS, HealthServer, SharedHealth

A = Upstream("a", "http://a/v1", key=b"sk-a")
REFUSED = UpstreamUnreachable("refused", kind="connect", sent="no")


class Workers:
    """Two, whose supervisor passes on the news of both."""

    def __init__(self):
        self.now = 100.0
        self.changes = ([], [])
        self.links = []
        self.server = HealthServer(lambda: self.now)
        self.healths = [UpstreamHealth([A], changes.append) for changes in self.changes]
        for number, health in enumerate(self.healths):
            here = Link({"health": lambda news, other=1 - number: self._pass_on(other, news)}, {}, _nothing)
            heard = {}
            there = Link(heard, {}, _nothing)
            shared = SharedHealth(there, lambda: self.now)
            heard["health"] = shared.apply
            shared.join(health)
            self.links.append(linked(here, there))

    def _pass_on(self, number, news):
        self.server.note(news)
        self.links[number][0].send("health", news)

    def start_one_more(self):
        """Return what a worker knows that starts now."""
        health, heard = UpstreamHealth([A]), {}
        here, there = linked(Link({}, {}, _nothing), Link(heard, {}, _nothing))
        shared = SharedHealth(there, lambda: self.now)
        heard["health"] = shared.apply
        shared.join(health)
        self.server.send_all(here)
        return health

    def usable(self, number, model="m"):
        return self.healths[number].usable(A, model, b"sk-a", self.now)


def _nothing():
    pass


@pytest.fixture
def workers():
    return Workers()


def fail(workers, times=5, number=0):
    for _ in range(times):
        workers.healths[number].broken(A, "m", "500", workers.now, workers.now)


def test_a_circuit_opens_and_closes_in_all_workers(workers):
    """Only the one that found it out logs and counts it."""
    fail(workers)
    assert [workers.usable(number) for number in (0, 1)] == [False, False]
    assert workers.usable(1, "other")
    workers.now += 1.0
    assert workers.usable(1)  # the trial
    workers.healths[1].begin(A, "m", b"sk-a", workers.now)
    workers.healths[1].answered(A, "m", b"sk-a", 200, workers.now, workers.now)
    assert [list(health.open_circuits()) for health in workers.healths] == [[], []]
    assert [[change.opened for change in changes] for changes in workers.changes] == [[True], [False]]


def test_an_upstream_that_takes_no_connections_is_out_everywhere(workers):
    """And back everywhere as soon as one has reached it."""
    for _ in range(3):
        workers.healths[0].failed(A, "m", REFUSED, workers.now, workers.now)
    assert [workers.usable(number) for number in (0, 1)] == [False, False]
    workers.now += 1.0
    workers.healths[0].answered(A, "m", b"sk-a", 200, workers.now, workers.now)
    assert [list(health.open_circuits()) for health in workers.healths] == [[], []]
    assert [workers.usable(number) for number in (0, 1)] == [True, True]


@pytest.mark.parametrize("spent", [False, True])
def test_a_key_rests_in_all_workers(workers, spent):
    """For as long as the upstream said; one without quota until it has one again."""
    workers.healths[0].limited(A, b"sk-a", spent, 30.0, workers.now, workers.now)
    assert [health.describe(workers.now)[0]["cooled_keys"] for health in workers.healths] == [1, 1]
    assert not workers.usable(1)
    if spent:
        workers.healths[1].answered(A, "m", b"sk-a", 200, workers.now, workers.now)
    else:
        workers.now += 30.0
    assert [workers.usable(number) for number in (0, 1)] == [True, True]


def test_news_of_an_unknown_upstream_is_ignored(workers):
    """While a reload goes through the workers, one may know an upstream that the other does not."""
    fail(workers)
    only_b = UpstreamHealth([Upstream("b", "http://b/v1")])
    for change in workers.changes[0]:
        only_b.apply(change, workers.now)
    assert list(only_b.open_circuits()) == []


def test_a_worker_that_starts_later_knows_what_still_holds(workers):
    """In place of one that was killed, it asked an upstream that was out, and with a key that had to wait."""
    fail(workers)
    workers.healths[1].limited(A, b"sk-b", False, 30.0, workers.now, workers.now)
    late = workers.start_one_more()
    assert list(late.open_circuits()) == [("a", "m")]
    assert (late.usable(A, "n", b"sk-a", workers.now), late.usable(A, "n", b"sk-b", workers.now)) == (
        True,
        False,
    )
    workers.now += 31.0
    workers.healths[1].begin(A, "m", b"sk-a", workers.now)
    workers.healths[1].answered(A, "m", b"sk-a", 200, workers.now, workers.now)
    later = workers.start_one_more()
    assert (list(later.open_circuits()), later.describe(workers.now)[0]["cooled_keys"]) == ([], 0)


def test_after_a_reload_a_worker_that_starts_knows_no_more_than_the_others(workers):
    """They begin anew too: whoever has mended an upstream's address is not made to wait."""
    fail(workers)
    workers.server.forget()
    assert list(workers.start_one_more().open_circuits()) == []


def test_what_is_kept_for_those_that_start_later_is_bounded():
    """The oldest goes."""
    server, received = HealthServer(lambda: 0.0), []
    for number in range(MOST_NEWS + 1):
        server.note(KeyNews("a", b"%d" % number, spent=False, until=1.0))
    here, _ = linked(Link({}, {}, _nothing), Link({"health": received.append}, {}, _nothing))
    server.send_all(here)
    assert [news.key for news in (received[0], received[-1])] == [b"1", b"%d" % MOST_NEWS]
    assert len(received) == MOST_NEWS

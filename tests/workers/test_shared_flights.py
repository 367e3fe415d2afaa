"""The same question at two workers at the same time: one of them asks the upstream, both answer as it comes."""

import pytest
from policies.cache.cached_upstream import SSE, CachedUpstream, cache_control
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.web.client import ResponseDone
from workers.links import lose
from workers.two_workers import TwoWorkers

from openai_proxy.exchange.upstream_errors import UpstreamUnreachable
from openai_proxy.policies.cache.memory import MemoryStore


class SharedStore(MemoryStore):
    """What both workers find, as in Redis, where nothing is known without asking."""

    puts = 0

    def peek(self, key):
        return None

    async def put(self, *entry):
        self.puts += 1
        await super().put(*entry)

    async def get(self, key):
        return super().peek(key)


class Daemon(TwoWorkers):
    """Each worker has a cache over one store."""

    def __init__(self):
        self.store = SharedStore(1_000_000, lambda: 0.0)
        super().__init__()
        self.first, self.second = self.workers

    def make(self, calls):
        return CachedUpstream(self.store, others=calls)

    @property
    def asked(self):
        """How often each worker has asked the upstream."""
        return len(self.first.calls), len(self.second.calls)

    def both(self, *further):
        """Ask the same at the first worker, then at the second; return both clients, and the upstream's call."""
        leader = self.first.ask(*further)
        self.turn_until(lambda: self.first.calls)
        follower = self.second.ask(*further)
        self.turn_until(lambda: self.calls[0].readers)
        return leader, follower, self.first.calls[0]


@pytest.fixture
def daemon():
    daemon = Daemon()
    yield daemon
    daemon.close()


def test_a_stream_is_shared_as_it_comes(daemon):
    """Both have its first event before there is a second; one pays, one entry is kept."""
    leader, follower, call = daemon.both()
    call.answer(SSE, (b"Set-Cookie", b"s"))
    call.feed(b"one ")
    daemon.turn_until(lambda: follower.chunks == [b"one "])
    assert leader.chunks == [b"one "]
    call.feed(b"two")
    call.end()
    daemon.turn_until(lambda: follower.body is not None)
    assert (leader.body, follower.body, daemon.asked) == (b"one two", b"one two", (1, 0))
    assert [each.exchange.cache_result for each in (leader, follower)] == ["miss", "shared"]
    assert (leader.exchange.cached, follower.exchange.cached, follower.exchange.cost_usd) == (
        False,
        True,
        0.0,
    )
    assert (leader.header(b"set-cookie"), follower.header(b"set-cookie")) == ([b"s"], [])
    assert (daemon.store.puts, daemon.server._workers) == (1, {})
    later = daemon.second.ask()
    assert (later.body, later.exchange.cache_result) == (b"one two", "hit")


def test_many_at_the_other_worker_share_one_connection(daemon):
    """Who comes late too has it from its start."""
    leader, follower, call = daemon.both()
    others = [daemon.second.ask() for _ in range(10)]
    daemon.reactor.turn()
    assert daemon.calls[0].readers == 1
    call.answer(SSE)
    call.feed(b"one ")
    daemon.turn_until(lambda: follower.chunks)
    others.append(daemon.second.ask())
    follower.leave()
    call.feed(b"two")
    call.end()
    daemon.turn_until(lambda: all(each.body for each in others))
    assert {each.body for each in (leader, *others)} == {b"one two"}
    assert {each.exchange.cost_usd for each in others} == {0.0}
    assert {each.exchange.cached for each in others} == {True}
    assert daemon.asked == (1, 0)


def test_a_failure_is_its_own_workers(daemon):
    """The other one asks once more, for all of its clients."""
    leader, follower, call = daemon.both()
    second = daemon.second.ask()
    call.head.errback(UpstreamUnreachable())
    daemon.turn_until(lambda: daemon.second.calls)
    assert isinstance(leader.error, UpstreamUnreachable)
    daemon.second.calls[0].serve(b"1")
    assert (follower.body, second.body, daemon.asked) == (b"1", b"1", (1, 1))
    assert (follower.exchange.cached, second.exchange.cached) == (False, True)


def test_an_answer_that_must_not_be_shared_is_asked_for_twice(daemon):
    """As its head says."""
    leader, follower, call = daemon.both()
    call.answer(SSE, cache_control(b"no-store"))
    daemon.turn_until(lambda: daemon.second.calls)
    daemon.second.calls[0].serve(b"2")
    call.feed(b"1")
    call.end()
    assert (leader.body, follower.body) == (b"1", b"2")


@pytest.mark.parametrize("wish", ["no-cache", "no-store"])
def test_who_wants_an_own_answer_has_one(daemon, wish):
    """Nobody else's call answers it."""
    daemon.first.ask()
    daemon.turn_until(lambda: daemon.first.calls)
    daemon.second.ask(None, cache_control(wish.encode()))
    daemon.reactor.turn()
    assert daemon.asked == (1, 1)


def test_what_was_stored_between_look_and_claim_is_found(daemon):
    """The call of the other worker had ended when this one claimed its own, after it had found nothing."""
    looked, store = Deferred(), daemon.store
    find = store.get

    async def get(key):
        store.get = find
        await looked

    store.get = get
    late = daemon.second.ask()
    leader = daemon.first.ask()
    daemon.turn_until(lambda: daemon.first.calls)
    daemon.first.calls[0].serve(b"1")
    daemon.reactor.turn()
    looked.callback(None)
    daemon.turn_until(lambda: late.body)
    assert (leader.body, late.body, late.exchange.cache_result, daemon.asked) == (
        b"1",
        b"1",
        "shared",
        (1, 0),
    )


def test_the_call_is_given_up_when_nobody_needs_it_at_any_worker(daemon):
    """Before its head and after; nothing stays open, or claimed."""
    leader, follower, call = daemon.both()
    assert leave(leader)
    assert call.cancels == []
    follower.leave()
    daemon.turn_until(lambda: call.cancels)
    assert (leader.stopped, daemon.server._workers) == (True, {})
    leader, follower, call = *daemon.both()[:2], None
    call = daemon.first.calls[1]
    call.answer(SSE)
    call.feed(b"one ")
    daemon.turn_until(lambda: follower.chunks)
    follower.leave()
    daemon.turn_until(lambda: not daemon.reactor.open)
    assert call.discards == 0
    leader.leave()
    assert (call.discards, daemon.server._workers) == (1, {})


def leave(client):
    """Do what the web edge does when a client leaves; return whether its call goes on."""
    finish = client.exchange.finish_alone
    if finish is None or finish(lambda: stop(client)) is None:
        client.leave()
        return False
    client.exchange.is_alone = True
    return True


def stop(client):
    client.stopped, client.exchange.is_alone = True, False
    client.leave()


def test_the_first_client_pays_to_the_end_for_those_at_the_other_worker(daemon):
    """It left: what was generated after that was paid by nobody."""
    leader, follower, call = daemon.both()
    call.answer(SSE)
    call.feed(b"one ")
    assert leave(leader)
    call.feed(b"two")
    call.end()
    daemon.turn_until(lambda: follower.body)
    assert (leader.body, leader.exchange.outcome.value, leader.exchange.heir) == (
        b"one two",
        "finished_alone",
        None,
    )
    assert (follower.exchange.cached, follower.exchange.cost_usd) == (True, 0.0)


def test_who_shares_it_at_the_same_worker_pays_before_that(daemon):
    """As without a second worker; then that one continues by itself."""
    leader, follower, call = daemon.both()
    here = daemon.first.ask()
    daemon.turn_until(lambda: len(daemon.first.stage._flights) == 1)
    call.answer(SSE)
    assert not leave(leader)
    assert leader.exchange.heir is here.exchange
    assert leave(here)
    call.feed(b"one")
    call.end()
    daemon.turn_until(lambda: follower.body)
    assert (here.exchange.outcome.value, here.exchange.cost_usd, follower.body) == (
        "finished_alone",
        None,
        b"one",
    )


@pytest.mark.parametrize("after_its_head", [True, False])
def test_a_worker_that_dies_takes_its_part_of_the_answer_along(daemon, after_its_head):
    """Before the head the other one asks for itself; after it, its client is cut off, and nothing is kept."""
    _, follower, call = daemon.both()
    if after_its_head:
        call.answer(SSE)
        call.feed(b"one ")
        daemon.turn_until(lambda: follower.chunks)
    lose(*daemon.links[0])
    for server in list(daemon.calls[0]._read):
        server.transport.abortConnection()
    if after_its_head:
        daemon.turn_until(lambda: follower.end)
        assert (follower.end, daemon.store.puts, daemon.asked) == (ConnectionLost, 0, (1, 0))
    else:
        daemon.turn_until(lambda: daemon.second.calls)
        daemon.second.calls[0].serve(b"2")
        assert (follower.body, follower.end) == (b"2", ResponseDone)
    again = daemon.second.ask()
    daemon.turn_until(lambda: again.body or len(daemon.second.calls) == 1)
    assert daemon.asked == (1, 1)


def test_an_equal_request_after_a_reload_shares_the_call_that_runs(daemon):
    """The stage of the replaced configuration has it; the new one reads."""
    leader = daemon.first.ask()
    daemon.turn_until(lambda: daemon.first.calls)
    call = daemon.first.calls[0]
    call.answer(SSE)
    call.feed(b"one ")
    new = CachedUpstream(daemon.store, others=daemon.calls[0])
    late = new.ask()
    daemon.turn_until(lambda: late.chunks)
    call.feed(b"two")
    call.end()
    daemon.turn_until(lambda: late.body)
    assert (leader.body, late.body, late.exchange.cost_usd, new.calls) == (b"one two", b"one two", 0.0, [])


def test_a_page_of_models_is_asked_for_at_each_worker(daemon):
    """Each counts for itself which pages are from before a model was deleted."""
    for cached in daemon.workers:
        cached.ask({}, endpoint="models", method=b"GET")
        daemon.reactor.turn()
    assert daemon.asked == (1, 1)

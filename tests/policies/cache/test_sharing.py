"""Requests alike at the same time: one call serves them all."""

import pytest
from policies.cache.cached_upstream import JSON, SSE, CachedUpstream
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost

from openai_proxy.exchange.buffered_bytes import BufferedBytes
from openai_proxy.exchange.errors import BudgetSpent
from openai_proxy.exchange.upstream_errors import UpstreamUnreachable
from openai_proxy.policies.cache.recording_memory import RecordingMemory


def test_a_hundred_identical_streams_cost_one_call():
    """All get the whole stream live and from its start, also when the first client leaves after an event."""
    cached = CachedUpstream()
    early = [cached.ask() for _ in range(50)]
    call = cached.calls[0]
    call.answer(SSE, (b"Set-Cookie", b"s"))
    call.feed(b"one")
    assert {tuple(client.chunks) for client in early} == {(b"one",)}
    early[0].leave()
    late = [cached.ask() for _ in range(50)]
    assert {tuple(client.chunks) for client in late} == {(b"one",)}
    call.feed(b"two")
    call.end()
    assert {client.body for client in early[1:] + late} == {b"onetwo"}
    assert (len(cached.calls), call.discards, cached.ask().body) == (1, 0, b"onetwo")
    assert early[0].header(b"set-cookie") == [b"s"]
    assert late[0].header(b"set-cookie") == []
    others = early[1:] + late
    assert {client.exchange.cache_result for client in others} == {"shared"}
    assert [client for client in others if not client.exchange.cached] == [early[1]]  # it pays


def test_the_call_goes_on_when_the_leader_leaves_before_the_head():
    """The first client's patience does not decide for the others."""
    cached = CachedUpstream()
    leader, follower = cached.ask(), cached.ask()
    leader.leave()
    assert isinstance(leader.error, CancelledError)
    cached.calls[0].serve(b"1")
    assert (follower.body, len(cached.calls)) == (b"1", 1)


def test_the_call_is_cancelled_when_nobody_waits():
    """No tokens are generated for nobody, and the next client starts anew."""
    cached = CachedUpstream()
    clients = [cached.ask(), cached.ask()]
    clients[0].leave()
    assert cached.calls[0].cancels == []
    clients[1].leave()
    assert len(cached.calls[0].cancels) == 1
    cached.ask()
    assert len(cached.calls) == 2


def test_the_body_is_given_up_when_nobody_reads():
    """A stream that everybody left stops at the upstream, is not stored, and cannot be joined."""
    cached = CachedUpstream()
    clients = [cached.ask(), cached.ask()]
    call = cached.calls[0]
    call.answer(SSE)
    call.feed(b"one")
    clients[0].leave()
    assert call.discards == 0
    clients[1].leave()
    assert call.discards == 1
    cached.ask()
    assert len(cached.calls) == 2


def test_one_follower_takes_over_when_the_leader_fails():
    """A failure is its own client's; the others cost one more call, not one each."""
    cached = CachedUpstream()
    clients = [cached.ask() for _ in range(5)]
    cached.calls[0].head.errback(UpstreamUnreachable())
    assert isinstance(clients[0].error, UpstreamUnreachable)
    assert len(cached.calls) == 2
    assert cached.calls[1].request.exchange is clients[1].exchange
    cached.calls[1].serve(b"1")
    assert [client.body for client in clients[1:]] == [b"1"] * 4
    assert [c.exchange.cache_result for c in clients] == ["miss", "miss", "shared", "shared", "shared"]


def test_one_follower_takes_over_when_the_leader_gets_an_error():
    """An upstream's 503 is its own client's too."""
    cached = CachedUpstream()
    clients = [cached.ask() for _ in range(3)]
    cached.calls[0].answer(JSON, status=503)
    cached.calls[0].end()
    assert (clients[0].response.status, len(cached.calls)) == (503, 2)
    cached.calls[1].serve(b"1")
    assert [client.body for client in clients] == [b"", b"1", b"1"]


def test_the_second_failure_is_everybodys():
    """An upstream that is down is asked twice, not once for each who waits."""
    cached = CachedUpstream()
    clients = [cached.ask() for _ in range(4)]
    cached.calls[0].head.errback(UpstreamUnreachable())
    cached.calls[1].answer(JSON, status=503)
    joined = cached.ask()
    cached.calls[1].feed(b"busy")
    cached.calls[1].end()
    assert len(cached.calls) == 3
    assert [(c.response.status, c.body) for c in clients[1:]] == [(503, b"busy")] * 3
    assert not clients[2].exchange.cached
    assert joined.response is None
    others = [cached.ask() for _ in range(2)]
    cached.calls[2].head.errback(UpstreamUnreachable())
    cached.calls[3].head.errback(UpstreamUnreachable())
    assert [type(c.error) for c in (joined, *others)] == [UpstreamUnreachable] * 3


def test_a_spent_budget_is_its_own_clients_however_many_are_spent():
    """Who shares a call with the spent ones gets an answer, and a failure counts as the first."""
    cached = CachedUpstream()
    clients = [cached.ask() for _ in range(6)]
    for number in range(3):
        cached.calls[number].head.errback(BudgetSpent())
    assert [type(client.error) for client in clients[:3]] == [BudgetSpent] * 3
    cached.calls[3].head.errback(UpstreamUnreachable())
    assert isinstance(clients[3].error, UpstreamUnreachable)
    cached.calls[4].serve(b"1")
    assert [client.body for client in clients[4:]] == [b"1"] * 2


def test_a_follower_takes_over_from_a_leader_who_left_and_failed():
    """The failure of a call whose client is gone is nobody's."""
    cached = CachedUpstream()
    leader, *followers = [cached.ask() for _ in range(3)]
    leader.leave()
    cached.calls[0].head.errback(UpstreamUnreachable())
    cached.calls[1].serve(b"1")
    assert [client.body for client in followers] == [b"1"] * 2


class SlowStore:
    """A store whose every answer is given by hand."""

    entry_bytes = 1000

    def __init__(self):
        self.gets = []
        self.puts = []

    def peek(self, key):
        """Nothing is known without asking."""

    async def get(self, key):
        self.gets.append(Deferred())
        return await self.gets[-1]

    async def put(self, key, entry, ttl_s, family=None):
        self.puts.append(Deferred())
        await self.puts[-1]


def test_who_looked_up_before_the_store_had_it_still_shares():
    """A slow store does not make a second call of a first one that is being stored."""
    store = SlowStore()
    cached = CachedUpstream(store)
    first = cached.ask()
    second = cached.ask()
    store.gets[0].callback(None)
    cached.calls[0].serve(b"1")
    assert first.body == b"1"
    store.gets[1].callback(None)
    assert (second.body, len(cached.calls)) == (b"1", 1)
    store.puts[0].callback(None)
    cached.ask()
    store.gets[2].callback(None)
    assert len(cached.calls) == 2


def test_a_client_may_leave_during_the_look_up():
    """Nothing is called for a client that left while the store was asked."""
    store = SlowStore()
    cached = CachedUpstream(store)
    client = cached.ask()
    client.leave()
    assert (type(client.error), cached.calls) == (CancelledError, [])


def test_whoever_is_left_pays_when_the_leader_leaves_before_the_head():
    """The call was charged to nobody: the leader saw no usage, and followers are free."""
    cached = CachedUpstream()
    leader, follower, third = cached.ask(), cached.ask(), cached.ask()
    leader.leave()
    assert leader.exchange.heir is follower.exchange
    cached.calls[0].serve(b"1")
    assert (follower.exchange.cached, follower.exchange.cost_usd) == (False, None)
    assert (third.exchange.cached, third.exchange.cost_usd) == (True, 0.0)
    assert leader.exchange.cost_usd == 0.0


def test_whoever_is_left_pays_when_the_leader_leaves_in_the_middle():
    """The next one pays when that one leaves too; the last one pays for what it saw."""
    cached = CachedUpstream()
    leader, second, third = cached.ask(), cached.ask(), cached.ask()
    call = cached.calls[0]
    call.answer(SSE)
    call.feed(b"one")
    third.leave()
    assert (third.exchange.heir, leader.exchange.heir) == (None, None)
    leader.leave()
    assert leader.exchange.heir is second.exchange
    fourth = cached.ask()
    second.leave()
    assert second.exchange.heir is fourth.exchange
    call.end()
    assert (fourth.exchange.heir, fourth.exchange.cached, fourth.exchange.cost_usd) == (None, False, None)


def test_a_leader_that_had_its_answer_pays_alone():
    """So do those who got an answer of their own."""
    cached = CachedUpstream()
    clients = [cached.ask() for _ in range(2)]
    cached.calls[0].serve(b"1")
    assert [client.exchange.heir for client in clients] == [None, None]
    assert [client.exchange.cached for client in clients] == [False, True]


DONE = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize(
    ("pieces", "kept"),
    [
        ([DONE], True),
        ([DONE[:-1], DONE[-1:]], True),
        ([bytes([byte]) for byte in DONE], True),
        ([DONE.replace(b"\n", b"\r\n")], True),
        ([DONE[:-1]], False),
        ([DONE + b": more\n"], False),
        ([b'data: {"choices":[{"delta":{"content":"data: [DONE]"}}]}\n\n'], False),
    ],
)
def test_a_client_that_leaves_at_the_last_event_has_had_the_whole_stream(pieces, kept):
    """OpenAI's SDKs close the connection at `[DONE]`: what they had was thrown away if the end came a moment later."""
    cached = CachedUpstream()
    client = cached.ask()
    call = cached.calls[0]
    call.answer(SSE)
    for piece in pieces:
        call.feed(piece)
    client.leave()
    assert call.discards == 1
    again = cached.ask()
    assert (len(cached.calls), again.body) == ((1, b"".join(pieces)) if kept else (2, None))


def test_what_is_recorded_counts_among_what_is_held_of_bodies():
    """Answers that are recorded for others and for the cache were held beside every bound; now until they are stored."""
    buffered = BufferedBytes(1000)
    cached = CachedUpstream(buffered=buffered)
    leader = cached.ask()
    call = cached.calls[0]
    call.answer(SSE)
    call.feed(b"one ")
    assert (cached.ask().chunks, buffered.held_bytes) == ([b"one "], 4)
    leader.leave()
    call.feed(b"two")
    assert buffered.held_bytes == 7
    call.end()
    assert (cached.ask().body, len(cached.calls), buffered.held_bytes) == (b"one two", 1, 0)


@pytest.mark.parametrize("end", ["cut", "left"])
def test_a_recording_that_breaks_off_frees_its_memory(end):
    """Whichever side goes."""
    buffered = BufferedBytes(1000)
    cached = CachedUpstream(buffered=buffered)
    clients = [cached.ask(), cached.ask()]
    cached.calls[0].answer(SSE)
    cached.calls[0].feed(b"one ")
    if end == "cut":
        cached.calls[0].end(ConnectionLost())
    else:
        for client in clients:
            client.leave()
    assert buffered.held_bytes == 0


def test_an_answer_that_finds_no_room_passes():
    """Those who share it have it whole; it is not kept, and who comes later asks anew."""
    buffered = BufferedBytes(20)
    cached = CachedUpstream(buffered=buffered)
    clients = [cached.ask(), cached.ask()]
    call = cached.calls[0]
    call.answer(SSE)
    call.feed(b"x" * 8)
    call.feed(b"y" * 8)
    assert buffered.held_bytes == 0
    late = cached.ask()
    call.end()
    assert {client.body for client in clients} == {b"x" * 8 + b"y" * 8}
    assert (late.response, len(cached.calls)) == (None, 2)


def test_an_answer_that_a_retry_waits_for_makes_room_for_the_cache():
    """Recordings of both take half of the memory of bodies; one that has ended gives way to one that runs."""
    memory = RecordingMemory(BufferedBytes(40))

    class Held:
        answers = 2

        def release_one(self):
            self.answers -= 1
            if self.answers < 0:
                return False
            held.free()
            return True

    holder, held = Held(), memory.lease()
    memory.register(holder)
    assert held.take(20)
    running = memory.lease()
    assert running.take(8)
    assert holder.answers == 1
    assert not running.take(13)
    assert holder.answers == -1
    del holder
    assert running.take(12)

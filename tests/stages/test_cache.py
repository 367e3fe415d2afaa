"""The cache as its clients meet it: hits, misses, and calls that they share."""

import json
import random

import pytest
from fakes import Body
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from openai_proxy.cache.known_requests import Answered
from openai_proxy.cache.memory import MemoryStore
from openai_proxy.core.cache_rules import CacheRules, TimesToLive, default_rules
from openai_proxy.core.errors import BudgetSpent, UpstreamUnreachable
from openai_proxy.core.exchange import Exchange, Outcome, Usage
from openai_proxy.messages import ProxyRequest, ProxyResponse
from openai_proxy.stages.cache import Cache, NotCached

JSON = (b"Content-Type", b"application/json")
SSE = (b"Content-Type", b"text/event-stream")


class Origin(Body):
    """One upstream call: answered, fed and ended by hand (its body and transport in one)."""

    def __init__(self, request):
        super().__init__()
        self.request = request
        self.cancels = []
        self.head = Deferred(self.cancels.append)

    def answer(self, *headers, status=200, length=None):
        self.length = length
        if length is not None:
            headers = (*headers, (b"Content-Length", b"%d" % length))
        self.head.callback(ProxyResponse(status, b"OK", list(headers), self))

    def end(self, error=None):
        self.protocol.connectionLost(Failure(error or ResponseDone()))

    def serve(self, body, *headers):
        """Answer whole."""
        self.answer(*(headers or (JSON,)), length=len(body))
        self.feed(body)
        self.end()


class Client:
    """One request: what came of it."""

    def __init__(self, stage, request, forward):
        self.exchange = request.exchange
        self.response = self.error = self.end = None
        self.chunks = []
        self._running = Deferred.fromCoroutine(stage(request, forward))
        self._running.addCallbacks(self._relay, self._failed)

    def _relay(self, response):
        self.response = response
        response.body.deliverBody(self)

    def _failed(self, failure):
        self.error = failure.value

    def makeConnection(self, transport):
        self.transport = transport

    def dataReceived(self, data):
        self.chunks.append(data)

    def connectionLost(self, reason):
        self.end = reason.type
        self.exchange.end(Outcome.COMPLETE, 0.0)

    def leave(self):
        """Do what the web edge does when the client is gone."""
        self.exchange.end(Outcome.CLIENT_GONE, 0.0)
        if self.response is None:
            self._running.cancel()
        else:
            self.response.body.discard()

    @property
    def body(self):
        return b"".join(self.chunks) if self.end is ResponseDone else None

    def header(self, name):
        return [value for key, value in self.response.headers if key.lower() == name]


class World:
    """A cache over an upstream that answers when told."""

    def __init__(self, store=None, shared=False, max_bytes=1_000_000):
        self.clock = Clock()
        self.store = store or MemoryStore(max_bytes, self.clock.seconds)
        rules = CacheRules(default_rules(TimesToLive()))
        self.answered = Answered()
        self.stage = Cache(
            self.store, rules, b"https://api.example/v1", self.clock.seconds, shared, self.answered
        )
        self.calls = []

    def ask(self, body=None, *headers, tenant="t", credential=b"sk", endpoint="embeddings", method=b"POST"):
        document = {"model": "m", "input": "x"} if body is None else body
        now = self.clock.seconds()
        exchange = Exchange(
            started=now,
            timestamp=1000.0 + now,
            method="POST",
            path="/v1/" + endpoint,
            endpoint=endpoint,
            credential_id=tenant,
        )
        request = ProxyRequest(
            method=method,
            target=b"/" + endpoint.encode(),
            headers=list(headers),
            body=json.dumps(document).encode(),
            document=document,
            exchange=exchange,
            credential=credential,
        )

        async def forward(request):
            call = Origin(request)
            self.calls.append(call)
            return await call.head

        return Client(self.stage, request, forward)


def cache_control(value):
    return (b"Cache-Control", value)


def test_the_second_asker_gets_the_stored_answer():
    """A hit has the same bytes, says that it is one and how old, and calls nobody."""
    world = World()
    miss = world.ask()
    world.calls[0].serve(b'{"a":1}', JSON, (b"Date", b"d"), (b"Set-Cookie", b"s"), (b"X-Cache", b"theirs"))
    world.clock.advance(7)
    hit = world.ask()
    assert (miss.body, hit.body, len(world.calls)) == (b'{"a":1}', b'{"a":1}', 1)
    assert hit.response.headers == [
        JSON,
        (b"Content-Length", b"7"),
        (b"x-cache", b"hit"),
        (b"age", b"7"),
    ]
    assert (miss.header(b"x-cache"), miss.header(b"set-cookie"), miss.header(b"age")) == (
        [b"miss"],
        [b"s"],
        [],
    )
    assert [(c.exchange.cache_result, c.exchange.cached) for c in (miss, hit)] == [
        ("miss", False),
        ("hit", True),
    ]
    assert hit.response.body.length == 7


def test_what_was_a_hit_is_noted():
    """Hits tell what is worth a closer look when it comes again; misses do not."""
    world = World()
    world.ask()
    world.calls[0].serve(b"1")
    assert world.answered.hashes == set()
    client = world.ask()
    assert world.answered.hashes == {hash(client.exchange.path)}


def test_an_entry_expires():
    """An answer is not served for longer than its time to live."""
    world = World()
    world.ask()
    world.calls[0].serve(b"1")
    world.clock.advance(86400)
    world.ask()
    assert len(world.calls) == 2


def test_usage_is_stored_with_the_answer():
    """A hit knows what its tokens were."""
    world = World()
    client = world.ask()
    client.exchange.usage = Usage(3, 4)
    world.calls[0].serve(b"1")
    assert world.ask().exchange.usage == Usage(3, 4)


def test_a_stream_is_replayed_in_its_pieces():
    """A hit of a stream has the events as they came, and no invented length."""
    world = World()
    cold = {"model": "m", "messages": [], "temperature": 0, "seed": 1, "stream": True}
    world.ask(cold, endpoint="chat/completions")
    world.calls[0].answer(SSE)
    world.calls[0].feed(b"data: 1\n\n", b"data: [DONE]\n\n")
    world.calls[0].end()
    hit = world.ask(cold, endpoint="chat/completions")
    assert (hit.chunks, hit.response.body.length) == ([b"data: 1\n\n", b"data: [DONE]\n\n"], None)
    world.ask({**cold, "stream": False}, endpoint="chat/completions")
    assert len(world.calls) == 2


@pytest.mark.parametrize(
    "request_of",
    [
        {"endpoint": "files"},
        {"endpoint": "embeddings", "method": b"OPTIONS"},
        {"endpoint": "chat/completions", "body": {"temperature": 1}},
    ],
    ids=str,
)
def test_what_no_rule_covers_passes_untouched(request_of):
    """Nothing is added to, kept of or shared between requests that are not for the cache."""
    world = World()
    clients = [world.ask(**request_of) for _ in range(2)]
    for call in world.calls:
        call.serve(b"1")
    assert (len(world.calls), clients[0].header(b"x-cache")) == (2, [])
    assert clients[0].exchange.cache_result == "bypass"


def test_client_no_store_leaves_no_trace():
    """A client may forbid to read and to write the cache."""
    world = World()
    for _ in range(2):
        world.ask(None, cache_control(b"no-store"))
        world.calls[-1].serve(b"1")
    world.ask()
    assert len(world.calls) == 3


def test_no_cache_refreshes():
    """A client that asks for a fresh answer gets one, and later ones get it too."""
    world = World()
    world.ask()
    world.calls[0].serve(b"old")
    fresh = world.ask(None, cache_control(b"no-cache"))
    world.calls[1].serve(b"new")
    assert (fresh.body, world.ask().body, len(world.calls)) == (b"new", b"new", 2)


def test_max_age_bounds_the_age():
    """A client says how old an answer may be."""
    world = World()
    world.ask()
    world.calls[0].serve(b"old")
    world.clock.advance(5)
    assert world.ask(None, cache_control(b"max-age=6")).body == b"old"
    world.ask(None, cache_control(b"max-age=5"))
    assert len(world.calls) == 2


def test_only_if_cached():
    """A client that wants no call gets the entry or a 504."""
    world = World()
    assert isinstance(world.ask(None, cache_control(b"only-if-cached")).error, NotCached)
    world.ask()
    world.calls[0].serve(b"1")
    assert world.ask(None, cache_control(b"only-if-cached")).body == b"1"


@pytest.mark.parametrize(("seed", "wish"), [(None, b"only-if-cached"), (1, b"no-store, only-if-cached")])
def test_only_if_cached_of_what_is_never_cached(seed, wish):
    """Who asks for a stored answer alone spends nothing on a request that is not for the cache either."""
    world = World()
    body = {"model": "m", "messages": [], "temperature": 0, "seed": seed}
    asked = world.ask(body, cache_control(wish), endpoint="chat/completions")
    assert isinstance(asked.error, NotCached)
    assert world.calls == []


@pytest.mark.parametrize(("shared", "calls"), [(False, 3), (True, 2)])
def test_tenants_share_only_where_told(shared, calls):
    """Two tenants share an entry only of one upstream key, and only where the configuration says so."""
    world = World(shared=shared)
    for tenant, credential in (("a", b"sk1"), ("b", b"sk1"), ("c", b"sk2")):
        world.ask(tenant=tenant, credential=credential)
        if len(world.calls) and not world.calls[-1].head.called:
            world.calls[-1].serve(b"1")
    assert len(world.calls) == calls


@pytest.mark.parametrize("status", [201, 206, 400, 429, 500])
def test_errors_are_not_stored(status):
    """An error is over when it is over."""
    world = World()
    failed = world.ask()
    world.calls[0].answer(JSON, status=status)
    world.calls[0].feed(b"{}")
    world.calls[0].end()
    assert (failed.body, failed.header(b"x-cache")) == (b"{}", [b"miss"])
    world.ask()
    assert len(world.calls) == 2


def test_a_cut_body_is_not_stored():
    """Half an answer is never replayed, and looks cut to the one who waited for it."""
    world = World()
    cut = world.ask()
    world.calls[0].answer(JSON)
    world.calls[0].feed(b'{"half')
    world.calls[0].end(ConnectionLost())
    assert cut.end is ConnectionLost
    world.ask()
    assert len(world.calls) == 2


@pytest.mark.parametrize("header", [cache_control(b"no-store"), (b"Vary", b"*")], ids=str)
def test_what_the_upstream_forbids_is_neither_stored_nor_shared(header):
    """Those who waited for somebody else's answer ask for themselves, all at once."""
    world = World()
    clients = [world.ask() for _ in range(3)]
    assert len(world.calls) == 1
    world.calls[0].serve(b"0", JSON, header)
    assert len(world.calls) == 3
    world.calls[1].serve(b"1", JSON, header)
    world.calls[2].serve(b"2", JSON, header)
    assert [client.body for client in clients] == [b"0", b"1", b"2"]
    assert [client.exchange.cache_result for client in clients] == ["miss"] * 3


def test_an_answer_too_large_is_passed_on_and_not_stored():
    """Size decides about keeping, never about serving."""
    world = World(max_bytes=80_000)
    clients = [world.ask(), world.ask()]
    world.calls[0].answer(JSON)
    world.calls[0].feed(*[b"x" * 1000] * 11)
    late = world.ask()
    world.calls[0].end()
    assert [client.body for client in clients] == [b"x" * 11_000] * 2
    assert (late.response, len(world.calls)) == (None, 2)


def test_a_hundred_identical_streams_cost_one_call():
    """All get the whole stream live and from its start, also when the first client leaves after an event."""
    world = World()
    early = [world.ask() for _ in range(50)]
    call = world.calls[0]
    call.answer(SSE, (b"Set-Cookie", b"s"))
    call.feed(b"one")
    assert {tuple(client.chunks) for client in early} == {(b"one",)}
    early[0].leave()
    late = [world.ask() for _ in range(50)]
    assert {tuple(client.chunks) for client in late} == {(b"one",)}
    call.feed(b"two")
    call.end()
    assert {client.body for client in early[1:] + late} == {b"onetwo"}
    assert (len(world.calls), call.discards, world.ask().body) == (1, 0, b"onetwo")
    assert early[0].header(b"set-cookie") == [b"s"]
    assert late[0].header(b"set-cookie") == []
    assert {(c.exchange.cache_result, c.exchange.cached) for c in early[1:] + late} == {("shared", True)}


def test_the_call_goes_on_when_the_leader_leaves_before_the_head():
    """The first client's patience does not decide for the others."""
    world = World()
    leader, follower = world.ask(), world.ask()
    leader.leave()
    assert isinstance(leader.error, CancelledError)
    world.calls[0].serve(b"1")
    assert (follower.body, len(world.calls)) == (b"1", 1)


def test_the_call_is_cancelled_when_nobody_waits():
    """No tokens are generated for nobody, and the next client starts anew."""
    world = World()
    clients = [world.ask(), world.ask()]
    clients[0].leave()
    assert world.calls[0].cancels == []
    clients[1].leave()
    assert len(world.calls[0].cancels) == 1
    world.ask()
    assert len(world.calls) == 2


def test_the_body_is_given_up_when_nobody_reads():
    """A stream that everybody left stops at the upstream, is not stored, and can not be joined."""
    world = World()
    clients = [world.ask(), world.ask()]
    call = world.calls[0]
    call.answer(SSE)
    call.feed(b"one")
    clients[0].leave()
    assert call.discards == 0
    clients[1].leave()
    assert call.discards == 1
    world.ask()
    assert len(world.calls) == 2


def test_one_follower_takes_over_when_the_leader_fails():
    """A failure is its own client's; the others cost one more call, not one each."""
    world = World()
    clients = [world.ask() for _ in range(5)]
    world.calls[0].head.errback(UpstreamUnreachable())
    assert isinstance(clients[0].error, UpstreamUnreachable)
    assert len(world.calls) == 2
    assert world.calls[1].request.exchange is clients[1].exchange
    world.calls[1].serve(b"1")
    assert [client.body for client in clients[1:]] == [b"1"] * 4
    assert [c.exchange.cache_result for c in clients] == ["miss", "miss", "shared", "shared", "shared"]


def test_one_follower_takes_over_when_the_leader_gets_an_error():
    """An upstream's 503 is its own client's too."""
    world = World()
    clients = [world.ask() for _ in range(3)]
    world.calls[0].answer(JSON, status=503)
    world.calls[0].end()
    assert (clients[0].response.status, len(world.calls)) == (503, 2)
    world.calls[1].serve(b"1")
    assert [client.body for client in clients] == [b"", b"1", b"1"]


def test_the_second_failure_is_everybodys():
    """An upstream that is down is asked twice, not once for each who waits."""
    world = World()
    clients = [world.ask() for _ in range(4)]
    world.calls[0].head.errback(UpstreamUnreachable())
    world.calls[1].answer(JSON, status=503)
    joined = world.ask()
    world.calls[1].feed(b"busy")
    world.calls[1].end()
    assert len(world.calls) == 3
    assert [(c.response.status, c.body) for c in clients[1:]] == [(503, b"busy")] * 3
    assert not clients[2].exchange.cached
    assert joined.response is None
    others = [world.ask() for _ in range(2)]
    world.calls[2].head.errback(UpstreamUnreachable())
    world.calls[3].head.errback(UpstreamUnreachable())
    assert [type(c.error) for c in (joined, *others)] == [UpstreamUnreachable] * 3


def test_a_spent_budget_is_its_own_clients_however_many_are_spent():
    """Who shares a call with the spent ones gets an answer, and a failure counts as the first."""
    world = World()
    clients = [world.ask() for _ in range(6)]
    for number in range(3):
        world.calls[number].head.errback(BudgetSpent())
    assert [type(client.error) for client in clients[:3]] == [BudgetSpent] * 3
    world.calls[3].head.errback(UpstreamUnreachable())
    assert isinstance(clients[3].error, UpstreamUnreachable)
    world.calls[4].serve(b"1")
    assert [client.body for client in clients[4:]] == [b"1"] * 2


def test_a_follower_takes_over_from_a_leader_who_left_and_failed():
    """The failure of a call whose client is gone is nobody's."""
    world = World()
    leader, *followers = [world.ask() for _ in range(3)]
    leader.leave()
    world.calls[0].head.errback(UpstreamUnreachable())
    world.calls[1].serve(b"1")
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
    world = World(store)
    first = world.ask()
    second = world.ask()
    store.gets[0].callback(None)
    world.calls[0].serve(b"1")
    assert first.body == b"1"
    store.gets[1].callback(None)
    assert (second.body, len(world.calls)) == (b"1", 1)
    store.puts[0].callback(None)
    world.ask()
    store.gets[2].callback(None)
    assert len(world.calls) == 2


def test_a_client_may_leave_during_the_look_up():
    """Nothing is called for a client that left while the store was asked."""
    store = SlowStore()
    world = World(store)
    client = world.ask()
    client.leave()
    assert (type(client.error), world.calls) == (CancelledError, [])


def get_models(world, path="models", **fields):
    return world.ask({}, *fields.pop("headers", ()), endpoint=path, method=b"GET", **fields)


def delete(world, status=200, **fields):
    """Delete a model; return the client once it is answered."""
    fields = {"endpoint": "models/{id}", "method": b"DELETE", **fields}
    client = world.ask({}, **fields)
    world.calls[-1].answer(JSON, status=status, length=2)
    world.calls[-1].feed(b"{}")
    world.calls[-1].end()
    return client


def test_a_deleted_model_is_not_answered_from_the_cache():
    """A model that was just deleted stood in the list for five minutes more."""
    world = World()
    gzip = (b"Accept-Encoding", b"gzip")
    pages = [("models", ()), ("models", (gzip,)), ("models/m", ())]
    for path, headers in pages:
        get_models(world, path, headers=headers)
        world.calls[-1].serve(b"{}")
    get_models(world, tenant="u")
    world.calls[-1].serve(b"{}")
    assert delete(world).exchange.cache_result == "bypass"
    seen = [get_models(world, path, headers=headers).exchange.cache_result for path, headers in pages]
    assert (seen, get_models(world, tenant="u").exchange.cache_result) == (["miss"] * 3, "hit")


@pytest.mark.parametrize("status", [401, 404])
def test_a_model_that_stays_stays_in_the_cache(status):
    """A deletion that was refused changes nothing."""
    world = World()
    get_models(world)
    world.calls[-1].serve(b"{}")
    delete(world, status)
    assert get_models(world).exchange.cache_result == "hit"


@pytest.mark.parametrize("left", [True, False])
def test_a_deletion_without_an_answer_counts_too(left):
    """The upstream may have deleted the model before it failed, or before the client left."""
    world = World()
    get_models(world)
    world.calls[-1].serve(b"{}")
    if left:
        world.ask({}, endpoint="models/{id}", method=b"DELETE").leave()
    else:
        delete(world, 502)
    assert get_models(world).exchange.cache_result == "miss"


def test_a_list_asked_for_before_a_deletion_is_neither_kept_nor_shared_after_it():
    """A list that was on its way when the model went still has the model on it."""
    world = World()
    before = get_models(world)
    late = world.calls[-1]
    delete(world)
    after = get_models(world)
    assert len(world.calls) == 3
    late.serve(b"old")
    world.calls[-1].serve(b"new")
    assert (before.body, after.body, get_models(world).body) == (b"old", b"new", b"new")


def test_other_deletions_pass():
    """Who deletes a file keeps the models that are cached."""
    world = World()
    get_models(world)
    world.calls[-1].serve(b"{}")
    delete(world, endpoint="files/{id}")
    assert get_models(world).exchange.cache_result == "hit"


def test_twenty_tenants_never_see_a_foreign_byte():
    """Ten thousand interleaved requests with equal and unequal bodies: each answer is its tenant's and body's."""
    world = World(max_bytes=200_000)
    rng = random.Random(7)
    clients = []
    waiting = []
    for _ in range(10_000):
        tenant, text = f"tenant-{rng.randrange(20)}", f"text-{rng.randrange(12)}"
        before = len(world.calls)
        client = world.ask({"input": text}, tenant=tenant, credential=b"same")
        clients.append((client, f"{tenant} {text} ".encode() * 20))
        if len(world.calls) > before:
            waiting.append((world.calls[-1], clients[-1][1]))
        while waiting and rng.random() < 0.6:
            call, answer = waiting.pop(rng.randrange(len(waiting)))
            call.serve(answer)
        world.clock.advance(rng.choice([0, 0, 1000]))
    for call, answer in waiting:
        call.serve(answer)
    assert all(client.body == answer for client, answer in clients)
    results = {client.exchange.cache_result for client, _ in clients}
    assert results == {"hit", "miss", "shared"}

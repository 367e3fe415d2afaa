"""The cache as its clients meet it: what is kept, and who gets it."""

import random

import pytest
from policies.cache.cached_upstream import JSON, SSE, CachedUpstream, cache_control
from twisted.internet.error import ConnectionLost

from openai_proxy.exchange.usage import Usage
from openai_proxy.policies.cache.cache import NotCached


def test_the_second_asker_gets_the_stored_answer():
    """A hit has the same bytes, says that it is one and how old, and calls nobody."""
    cached = CachedUpstream()
    miss = cached.ask()
    cached.calls[0].serve(b'{"a":1}', JSON, (b"Date", b"d"), (b"Set-Cookie", b"s"), (b"X-Cache", b"theirs"))
    cached.clock.advance(7)
    hit = cached.ask()
    assert (miss.body, hit.body, len(cached.calls)) == (b'{"a":1}', b'{"a":1}', 1)
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
    cached = CachedUpstream()
    cached.ask()
    cached.calls[0].serve(b"1")
    assert set(cached.answered.hashes) == set()
    client = cached.ask()
    assert set(cached.answered.hashes) == {hash(client.exchange.path)}


def _configured(served_as, before=None):
    """Return the cache of a configuration, over the entries of the one before it."""
    cached = CachedUpstream(store=before.store if before else None)
    cached.served_as = served_as
    return cached


@pytest.mark.parametrize(
    "asked",
    [{}, {"body": {"messages": []}, "endpoint": "models/fast", "method": b"GET"}],
    ids=["embeddings", "its page"],
)
def test_what_another_model_said_under_the_same_name_is_not_served(asked):
    """A name of our own that the configuration gives to another model: vectors of two models never mix."""
    first = _configured({"m": b"one", "fast": b"one"})
    first.ask(**asked)
    first.calls[0].serve(b'{"of":1}')
    again = _configured({"m": b"one", "fast": b"one"}, before=first)
    assert again.ask(**asked).body == b'{"of":1}'
    changed = _configured({"m": b"two", "fast": b"two"}, before=first)
    changed.ask(**asked)
    assert len(changed.calls) == 1


def test_an_entry_expires():
    """An answer is not served for longer than its time to live."""
    cached = CachedUpstream()
    cached.ask()
    cached.calls[0].serve(b"1")
    cached.clock.advance(86400)
    cached.ask()
    assert len(cached.calls) == 2


def test_usage_is_stored_with_the_answer():
    """A hit knows what its tokens were."""
    cached = CachedUpstream()
    client = cached.ask()
    client.exchange.usage = Usage(3, 4)
    cached.calls[0].serve(b"1")
    assert cached.ask().exchange.usage == Usage(3, 4)


def test_a_stream_is_replayed_in_its_pieces():
    """A hit of a stream has the events as they came, and no invented length."""
    cached = CachedUpstream()
    cold = {"model": "m", "messages": [], "temperature": 0, "seed": 1, "stream": True}
    cached.ask(cold, endpoint="chat/completions")
    cached.calls[0].answer(SSE)
    cached.calls[0].feed(b"data: 1\n\n", b"data: [DONE]\n\n")
    cached.calls[0].end()
    hit = cached.ask(cold, endpoint="chat/completions")
    assert (hit.chunks, hit.response.body.length) == ([b"data: 1\n\n", b"data: [DONE]\n\n"], None)
    cached.ask({**cold, "stream": False}, endpoint="chat/completions")
    assert len(cached.calls) == 2


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
    cached = CachedUpstream()
    clients = [cached.ask(**request_of) for _ in range(2)]
    for call in cached.calls:
        call.serve(b"1")
    assert (len(cached.calls), clients[0].header(b"x-cache")) == (2, [])
    assert clients[0].exchange.cache_result == "bypass"


def test_client_no_store_leaves_no_trace():
    """A client may forbid to read and to write the cache."""
    cached = CachedUpstream()
    for _ in range(2):
        cached.ask(None, cache_control(b"no-store"))
        cached.calls[-1].serve(b"1")
    cached.ask()
    assert len(cached.calls) == 3


def test_no_cache_refreshes():
    """A client that asks for a fresh answer gets one, and later ones get it too."""
    cached = CachedUpstream()
    cached.ask()
    cached.calls[0].serve(b"old")
    fresh = cached.ask(None, cache_control(b"no-cache"))
    cached.calls[1].serve(b"new")
    assert (fresh.body, cached.ask().body, len(cached.calls)) == (b"new", b"new", 2)


def test_max_age_bounds_the_age():
    """A client says how old an answer may be."""
    cached = CachedUpstream()
    cached.ask()
    cached.calls[0].serve(b"old")
    cached.clock.advance(5)
    assert cached.ask(None, cache_control(b"max-age=6")).body == b"old"
    cached.ask(None, cache_control(b"max-age=5"))
    assert len(cached.calls) == 2


def test_only_if_cached():
    """A client that wants no call gets the entry or a 504."""
    cached = CachedUpstream()
    assert isinstance(cached.ask(None, cache_control(b"only-if-cached")).error, NotCached)
    cached.ask()
    cached.calls[0].serve(b"1")
    assert cached.ask(None, cache_control(b"only-if-cached")).body == b"1"


@pytest.mark.parametrize(("seed", "wish"), [(None, b"only-if-cached"), (1, b"no-store, only-if-cached")])
def test_only_if_cached_of_what_is_never_cached(seed, wish):
    """A request for a stored answer only spends nothing on a request that is not for the cache either."""
    cached = CachedUpstream()
    body = {"model": "m", "messages": [], "temperature": 0, "seed": seed}
    asked = cached.ask(body, cache_control(wish), endpoint="chat/completions")
    assert isinstance(asked.error, NotCached)
    assert cached.calls == []


@pytest.mark.parametrize(("shared", "calls"), [(False, 3), (True, 2)])
def test_tenants_share_only_if_configured(shared, calls):
    """Two tenants share an entry only of one upstream key, and only if the configuration says so."""
    cached = CachedUpstream(shared=shared)
    for tenant, credential in (("a", b"sk1"), ("b", b"sk1"), ("c", b"sk2")):
        cached.ask(tenant=tenant, credential=credential)
        if len(cached.calls) and not cached.calls[-1].head.called:
            cached.calls[-1].serve(b"1")
    assert len(cached.calls) == calls


@pytest.mark.parametrize("status", [201, 206, 400, 429, 500])
def test_errors_are_not_stored(status):
    """An error is over when it is over."""
    cached = CachedUpstream()
    failed = cached.ask()
    cached.calls[0].answer(JSON, status=status)
    cached.calls[0].feed(b"{}")
    cached.calls[0].end()
    assert (failed.body, failed.header(b"x-cache")) == (b"{}", [b"miss"])
    cached.ask()
    assert len(cached.calls) == 2


def test_a_cut_body_is_not_stored():
    """Half an answer is never replayed, and looks cut to the one who waited for it."""
    cached = CachedUpstream()
    cut = cached.ask()
    cached.calls[0].answer(JSON)
    cached.calls[0].feed(b'{"half')
    cached.calls[0].end(ConnectionLost())
    assert cut.end is ConnectionLost
    cached.ask()
    assert len(cached.calls) == 2


@pytest.mark.parametrize("header", [cache_control(b"no-store"), (b"Vary", b"*")], ids=str)
def test_what_the_upstream_forbids_is_neither_stored_nor_shared(header):
    """Those who waited for somebody else's answer ask for themselves, all at once."""
    cached = CachedUpstream()
    clients = [cached.ask() for _ in range(3)]
    assert len(cached.calls) == 1
    cached.calls[0].serve(b"0", JSON, header)
    assert len(cached.calls) == 3
    cached.calls[1].serve(b"1", JSON, header)
    cached.calls[2].serve(b"2", JSON, header)
    assert [client.body for client in clients] == [b"0", b"1", b"2"]
    assert [client.exchange.cache_result for client in clients] == ["miss"] * 3


def test_an_answer_too_large_is_passed_on_and_not_stored():
    """Size decides about keeping, never about serving."""
    cached = CachedUpstream(max_bytes=80_000)
    clients = [cached.ask(), cached.ask()]
    cached.calls[0].answer(JSON)
    cached.calls[0].feed(*[b"x" * 1000] * 11)
    late = cached.ask()
    cached.calls[0].end()
    assert [client.body for client in clients] == [b"x" * 11_000] * 2
    assert (late.response, len(cached.calls)) == (None, 2)


def get_models(cached, path="models", **fields):
    return cached.ask({}, *fields.pop("headers", ()), endpoint=path, method=b"GET", **fields)


def delete(cached, status=200, **fields):
    """Delete a model; return the client once it is answered."""
    fields = {"endpoint": "models/{id}", "method": b"DELETE", **fields}
    client = cached.ask({}, **fields)
    cached.calls[-1].answer(JSON, status=status, length=2)
    cached.calls[-1].feed(b"{}")
    cached.calls[-1].end()
    return client


def test_a_deleted_model_is_not_answered_from_the_cache():
    """A model that was just deleted stood in the list for five minutes more."""
    cached = CachedUpstream()
    gzip = (b"Accept-Encoding", b"gzip")
    pages = [("models", ()), ("models", (gzip,)), ("models/m", ())]
    for path, headers in pages:
        get_models(cached, path, headers=headers)
        cached.calls[-1].serve(b"{}")
    get_models(cached, tenant="u")
    cached.calls[-1].serve(b"{}")
    assert delete(cached).exchange.cache_result == "bypass"
    seen = [get_models(cached, path, headers=headers).exchange.cache_result for path, headers in pages]
    assert (seen, get_models(cached, tenant="u").exchange.cache_result) == (["miss"] * 3, "hit")


@pytest.mark.parametrize("status", [401, 404])
def test_a_model_that_stays_stays_in_the_cache(status):
    """A deletion that was refused changes nothing."""
    cached = CachedUpstream()
    get_models(cached)
    cached.calls[-1].serve(b"{}")
    delete(cached, status)
    assert get_models(cached).exchange.cache_result == "hit"


@pytest.mark.parametrize("left", [True, False])
def test_a_deletion_without_an_answer_counts_too(left):
    """The upstream may have deleted the model before it failed, or before the client left."""
    cached = CachedUpstream()
    get_models(cached)
    cached.calls[-1].serve(b"{}")
    if left:
        cached.ask({}, endpoint="models/{id}", method=b"DELETE").leave()
    else:
        delete(cached, 502)
    assert get_models(cached).exchange.cache_result == "miss"


def test_a_list_asked_for_before_a_deletion_is_neither_kept_nor_shared_after_it():
    """A list that was on its way when the model went still has the model on it."""
    cached = CachedUpstream()
    before = get_models(cached)
    late = cached.calls[-1]
    delete(cached)
    after = get_models(cached)
    assert len(cached.calls) == 3
    late.serve(b"old")
    cached.calls[-1].serve(b"new")
    assert (before.body, after.body, get_models(cached).body) == (b"old", b"new", b"new")


def test_other_deletions_pass():
    """Who deletes a file keeps the models that are cached."""
    cached = CachedUpstream()
    get_models(cached)
    cached.calls[-1].serve(b"{}")
    delete(cached, endpoint="files/{id}")
    assert get_models(cached).exchange.cache_result == "hit"


def test_twenty_tenants_never_see_a_foreign_byte():
    """Ten thousand interleaved requests with equal and unequal bodies: each answer is its tenant's and body's."""
    cached = CachedUpstream(max_bytes=200_000)
    rng = random.Random(7)
    clients = []
    waiting = []
    for _ in range(10_000):
        tenant, text = f"tenant-{rng.randrange(20)}", f"text-{rng.randrange(12)}"
        before = len(cached.calls)
        client = cached.ask({"input": text}, tenant=tenant, credential=b"same")
        clients.append((client, f"{tenant} {text} ".encode() * 20))
        if len(cached.calls) > before:
            waiting.append((cached.calls[-1], clients[-1][1]))
        while waiting and rng.random() < 0.6:
            call, answer = waiting.pop(rng.randrange(len(waiting)))
            call.serve(answer)
        cached.clock.advance(rng.choice([0, 0, 1000]))
    for call, answer in waiting:
        call.serve(answer)
    assert all(client.body == answer for client, answer in clients)
    results = {client.exchange.cache_result for client, _ in clients}
    assert results == {"hit", "miss", "shared"}

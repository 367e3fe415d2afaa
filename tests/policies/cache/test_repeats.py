"""A repeated request is answered as it was by the cache, and by nothing else."""

import json
from hashlib import sha256

import fakes
import pytest
from fakes import Body, result_of, through
from hypothesis import given
from hypothesis import strategies as st
from taken import Taken
from twisted.internet.task import Clock

from openai_proxy.exchange.messages import ProxyRequest, ProxyResponse
from openai_proxy.exchange.usage import Usage
from openai_proxy.policies.cache.entry import CacheEntry
from openai_proxy.policies.cache.hits import answer_with
from openai_proxy.policies.cache.memory import MemoryStore
from openai_proxy.policies.cache.repeats import AnswerRepeats
from openai_proxy.policies.cache.request_memo import Answered
from openai_proxy.policies.cache.rules import parse_cache_control

KEY = b"k" * 32
BODY = b'{"model":"m","input":"x"}'
JSON_LINES = [(b"Content-Type", b"application/json"), (b"Content-Length", b"2")]


class Repeats:
    """The stage before one that answers with what is stored under KEY, and counts."""

    def __init__(self):
        self.clock = Clock()
        self.store = MemoryStore(1_000_000, self.clock.seconds)
        self.answered = Answered()
        self.answered.note(BODY)
        self.answered.note("/v1/embeddings")
        self.stage = AnswerRepeats(self.store, self.clock.seconds, self.answered)
        self.passed = 0
        self.change = lambda response: response
        self.keep(b"{}")

    def keep(self, *chunks, headers=JSON_LINES, ttl_s=60.0):
        self.clock.advance(0)
        entry = CacheEntry(b"OK", headers, chunks, 1000.0 + self.clock.seconds(), Usage(3, 4))
        result_of(through(self.store.put, KEY, entry, ttl_s))
        return entry

    async def forward(self, request):
        self.passed += 1
        exchange = request.exchange
        exchange.model = json.loads(request.body)["model"] if request.body else None
        exchange.streaming = False
        entry = self.store.peek(KEY)
        if entry is None:
            return ProxyResponse(200, b"OK", [], Body())
        now = exchange.timestamp + self.clock.seconds() - exchange.started
        return self.change(answer_with(entry, KEY, exchange, now))

    def ask(self, body=BODY, *, lines=b"", method=b"POST", **fields):
        """Return the exchange and the response."""
        sent = lines + b"Content-Length: %d\r\n" % len(body or b"")
        headers = [tuple(line.split(b": ")) for line in sent.split(b"\r\n")[:-1]]
        now = self.clock.seconds()
        exchange = fakes.exchange(
            started=now,
            timestamp=1000.0 + now,
            method=method.decode(),
            path="/v1/embeddings",
            endpoint="embeddings",
        )
        exchange.credential_id = fields.pop("tenant", "t")
        request = ProxyRequest(
            method,
            fields.pop("target", b"/embeddings"),
            headers,
            body,
            exchange,
            buffered=body is not None,
            credential=fields.pop("credential", b"sk"),
        )
        return exchange, result_of(through(self.stage, request, self.forward))


def members(exchange):
    return {name: value for name, value in vars(exchange).items() if not name.startswith("_")}


def test_a_repeat_is_answered_as_the_first_hit_was():
    """Who asks again gets the same answer and the same record, without the way to the cache."""
    repeats = Repeats()
    first, hit = repeats.ask()
    again, repeat = repeats.ask()
    assert repeats.passed == 1
    assert (repeat.status, repeat.reason, repeat.headers) == (200, b"OK", hit.headers)
    assert (repeat.body.whole, repeat.body.length) == (b"{}", 2)
    assert members(again) == {**members(first), "request_body": BODY, "request_bytes": len(BODY)}
    assert (again.model, again.cached, again.cost_usd, again.usage) == ("m", True, 0.0, Usage(3, 4))


def test_the_age_goes_on():
    """A repeat says how old the answer is now."""
    repeats = Repeats()
    ages = []
    for _ in range(3):
        ages += [value for name, value in repeats.ask()[1].headers if name == b"age"]
        repeats.clock.advance(2)
    assert (ages, repeats.passed) == ([b"0", b"2", b"4"], 1)


@pytest.mark.parametrize(
    "other",
    [
        {"tenant": "u"},
        {"credential": b"sk-2"},
        {"body": b'{"model":"n","input":"x"}'},
        {"target": b"/embeddings?x"},
        {"lines": b"Accept-Encoding: gzip\r\n"},
        {"lines": b"Cache-Control: no-cache\r\n"},
    ],
)
def test_another_request_goes_the_long_way(other):
    """Nothing of one tenant, key, body, place or wish answers another."""
    repeats = Repeats()
    for _ in range(2):
        repeats.ask()
    repeats.ask(**other)
    assert repeats.passed == 2


@pytest.mark.parametrize("name", [b"traceparent", b"Traceparent", b"tracestate", b"X-Request-Id", b"baggage"])
def test_traced_clients_repeat_themselves_too(name):
    """A line that is another one each time, and that nothing here reads, makes no other request of it."""
    repeats = Repeats()
    for number in range(3):
        repeats.ask(lines=b"%b: %d\r\n" % (name, number))
    assert repeats.passed == 1


def test_what_a_stage_changes_goes_the_long_way():
    """An answer that some setting changes on its way is changed every time."""
    repeats = Repeats()
    repeats.change = lambda response: response.evolve(filters=("think",))
    for _ in range(3):
        assert repeats.ask()[1].filters == ("think",)
    assert repeats.passed == 3


def test_another_entry_goes_the_long_way():
    """An answer that took the place of the one before may be one that a stage changes."""
    repeats = Repeats()
    repeats.ask()
    repeats.keep(b"[]")
    assert (repeats.ask()[1].body.whole, repeats.passed) == (b"[]", 2)
    assert (repeats.ask()[1].body.whole, repeats.passed) == (b"[]", 2)


def test_an_expired_entry_is_no_answer():
    """Nothing is remembered for longer than the cache keeps it."""
    repeats = Repeats()
    repeats.ask()
    repeats.clock.advance(60)
    exchange, response = repeats.ask()
    assert (repeats.passed, exchange.cached, response.headers) == (2, False, [])


def test_an_age_asked_for_is_looked_at_every_time():
    """`max-age` holds for repeats too."""
    repeats = Repeats()
    for _ in range(3):
        repeats.ask(lines=b"Cache-Control: max-age=5\r\n")
    assert repeats.passed == 3


def test_a_request_without_a_body_is_repeated_too():
    """Lists of models are asked for with nothing in the body."""
    repeats = Repeats()
    for _ in range(3):
        exchange, _ = repeats.ask(None, method=b"GET")
    assert (repeats.passed, exchange.request_body, exchange.request_bytes, exchange.model) == (
        1,
        None,
        0,
        None,
    )


def test_repeats_of_a_stream_are_read_each_at_its_own_pace():
    """Two clients that read the same stored stream at once get all of it."""
    repeats = Repeats()
    repeats.keep(b"data: 1\n\n", b"data: 2\n\n", headers=[(b"Content-Type", b"text/event-stream")])
    bodies = [repeats.ask()[1].body for _ in range(3)]
    assert (repeats.passed, len({id(body) for body in bodies})) == (1, 3)


def test_what_was_never_answered_is_not_looked_at():
    """Requests that nobody repeats are not remembered."""
    repeats = Repeats()
    repeats.answered.hashes.clear()
    for _ in range(3):
        repeats.ask()
    assert repeats.passed == 3


OTHER_BODY = b'{"model":"n","input":"x"}'
ASKED = st.fixed_dictionaries(
    {},
    optional={
        "tenant": st.sampled_from(["t", "t", "u"]),
        "credential": st.sampled_from([b"sk", b"sk", b"sk-2"]),
        "body": st.sampled_from([BODY, BODY, BODY, OTHER_BODY, None]),
        "target": st.sampled_from([b"/embeddings", b"/embeddings", b"/embeddings?x"]),
        "lines": st.sampled_from([b"", b"", b"Accept-Encoding: gzip\r\n", b"Cache-Control: max-age=1\r\n"]),
    },
)


class Cache(Repeats):
    """The stage before a cache that names entries by all that a request says; `long` without the stage.

    Answers of odd versions are changed by a stage between the two.
    """

    def __init__(self, long):
        super().__init__()
        self.version = 0
        self.keys = set()
        self.answered.note(OTHER_BODY)
        if long:
            self.stage = lambda request, forward: forward(request)

    async def forward(self, request):
        self.passed += 1
        exchange = request.exchange
        exchange.model, exchange.streaming = "m", False
        says = (request.headers, request.body, request.target, request.credential, exchange.credential_id)
        key = sha256(repr(says).encode()).digest()
        now = exchange.timestamp + self.clock.seconds() - exchange.started
        entry, most_s = self.store.peek(key), parse_cache_control(request.headers).max_age_s
        if entry is None or (most_s is not None and entry.age_s(now) > most_s):
            self.store_anew(key)
            return ProxyResponse(200, b"OK", [(b"x-cache", b"miss")], Body())
        hit = answer_with(entry, key, exchange, now)
        return hit.evolve(reason=b"Changed") if self.version % 2 else hit

    def store_anew(self, key):
        body = b"%d %b" % (self.version, key)
        entry = CacheEntry(b"OK", JSON_LINES, (body,), 1000.0 + self.clock.seconds(), Usage(3, 4))
        through(self.store.put, key, entry, 60.0)
        self.keys.add(key)

    def replace_all(self):
        """Give every entry its next version."""
        self.version += 1
        for key in self.keys:
            self.store_anew(key)


def test_repeats_are_answered_as_the_long_way_answers():
    """Whatever was asked before, by whomever, while entries are replaced and time passes."""
    with Taken() as note:

        @given(st.lists(st.tuples(ASKED, st.sampled_from([0, 0, 0, 1, 40, "new"])), min_size=2, max_size=8))
        def check(steps):
            short, long = Cache(False), Cache(True)
            for asked, then in [*steps, *steps, *steps]:
                answers = []
                for repeats in (short, long):
                    exchange, response = repeats.ask(**asked)
                    record = {**members(exchange), "request_body": None, "request_bytes": 0, "id": ""}
                    whole = getattr(response.body, "whole", None)
                    answers.append((record, response.status, response.reason, response.headers, whole))
                    if then == "new":
                        repeats.replace_all()
                    else:
                        repeats.clock.advance(then)
                assert answers[0] == answers[1]
            note(short.passed < long.passed)

        check()

"""JSON bodies are read whole and looked at; others pass by."""

import gzip
import random

import brotli
import pytest
from fakes import Recorder, exchange, outcome_of, result_of, through
from twisted.web.iweb import UNKNOWN_LENGTH

from openai_proxy.exchange.buffered_bytes import BufferedBytes
from openai_proxy.exchange.errors import (
    InvalidJSON,
    MissingParameter,
    Overloaded,
    RequestTooLarge,
    UnreadableBody,
)
from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.policies.bodies.changed_json import with_json
from openai_proxy.policies.bodies.read_body import NO_RULES, BodyRules, ReadBody
from openai_proxy.policies.usage.prompt_estimate import estimated_prompt


class Arriving:
    """A body that is there at once, or raises."""

    def __init__(self, data, length=None):
        self.data = data
        self.length = len(data) if length is None else length
        self.limits = []

    def check_announced(self):
        if len(self.data) > 5:
            raise RequestTooLarge

    async def beginning(self):
        return self.data[:64]

    async def read(self, limit_bytes, hold=None):
        self.limits.append(limit_bytes)
        if len(self.data) > limit_bytes:
            raise RequestTooLarge
        return self.data


def run(body, limit=1000, target=b"/chat/completions", rules=NO_RULES, headers=(), estimates=False, **fields):
    forward = Recorder()
    fields = {"buffered": True, **fields}
    request = ProxyRequest(b"POST", target, [(b"X", b"y"), *headers], body, exchange(), **fields)
    result_of(through(ReadBody(limit, rules, estimates), request, forward))
    return forward.requests[0]


def test_json_body_is_read_and_decoded_once():
    """The later stages see bytes and document; the record the model."""
    body = b'{"model": "m", "stream": true, "messages": []}'
    request = run(Arriving(body), required=("model", "messages"))
    assert (request.body, request.headers) == (body, [(b"X", b"y")])
    assert request.document == {"model": "m", "stream": True, "messages": []}
    record = request.exchange
    assert (record.model, record.streaming, record.request_bytes) == ("m", True, len(body))
    assert record.request_body == body


def test_chunked_body_goes_up_counted():
    """Its framing was this hop's own."""
    request = run(Arriving(b"{}", UNKNOWN_LENGTH))
    assert request.headers == [(b"X", b"y"), (b"Content-Length", b"2")]


def test_a_body_announced_as_empty_is_none():
    """A POST with `Content-Length: 0` has nothing that could not be sent again, or name a model."""
    assert run(Arriving(b""), buffered=False).body == b""


def test_other_bodies_pass_by():
    """What is not JSON is still arriving when it goes up."""
    body = Arriving(b"x")
    request = run(body, buffered=False)
    assert request.body is body


@pytest.mark.parametrize(
    ("target", "model"),
    [
        (b"/realtime?model=gpt-realtime", "gpt-realtime"),
        (b"/realtime?a=1&mod%65l=a%2Fb+c&model=second", "a/b c"),
        (b"/realtime", None),
        (b"/realtime?call_id=rtc_1", None),
    ],
)
def test_a_tunnel_names_its_model_in_the_query(target, model):
    """Logs and metrics of WebSockets tell what was called."""
    request = run(None, target=target, buffered=False, upgrade=True)
    assert request.exchange.model == model


def test_other_body_that_is_announced_too_large_goes_nowhere():
    """It was refused only once the upstream had been connected to and had got the head."""
    with pytest.raises(RequestTooLarge):
        run(Arriving(b"123456"), buffered=False)


@pytest.mark.parametrize("body", [Arriving(b"[]"), Arriving(b""), None])
def test_endpoint_with_required_members_needs_an_object(body):
    """Anything but an object is refused."""
    with pytest.raises(InvalidJSON):
        run(body, required=("model",))


def test_missing_member_is_named():
    """A request that the API would refuse costs no call."""
    with pytest.raises(MissingParameter):
        run(Arriving(b"{}"), required=("model",))


def test_json_without_rules_may_be_anything():
    """Only three endpoints are checked."""
    assert run(Arriving(b"not json")).document is None
    assert run(Arriving(b'{"model": 5}')).exchange.model is None


def test_encoded_body_passes_unlooked_at():
    """Compressed bytes are the upstream's to read."""
    request = run(Arriving(b"\x1f\x8b"), required=("model",), encoded=True)
    assert (request.body, request.document) == (b"\x1f\x8b", None)


def test_limit_is_asked_of_the_body():
    """A body above the limit is refused while it arrives."""
    with pytest.raises(RequestTooLarge):
        run(Arriving(b"{}"), limit=1)


@pytest.mark.parametrize(
    ("body", "ordinary"),
    [
        (b'{"a": 123456789012345678901234567890}', True),
        (b'{"a": %b}' % (b"1" * 5000), False),
        (b'{"a": "\\ud800"}', False),
        (b"[1]", False),
        (b"{", False),
    ],
    ids=["plain", "thousands of digits", "half a pair", "no object", "no JSON"],
)
@pytest.mark.parametrize("encoded", [False, True])
def test_only_what_every_reader_decodes_is_ordinary(body, ordinary, encoded):
    """The exchange log copies such a body as it is: Python's own reader fails on thousands of digits."""
    seen = run(body, limit=9000, encoded=encoded)
    assert seen.exchange.request_is_ordinary == (ordinary and not encoded)


EVERYBODY = BodyRules(everybody=True)
OBJECT = b'{"model":"m","input":"hello","stream":true}'


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"gzip", gzip.compress(OBJECT, mtime=0)),
        (b"br", brotli.compress(OBJECT)),
        (b"br, gzip", gzip.compress(brotli.compress(OBJECT), mtime=0)),
    ],
)
def test_a_compressed_body_is_looked_into_where_a_rule_needs_it(coding, body):
    """Else it passes unread; it goes on as it came either way."""
    lines = [(b"Content-Encoding", coding)]
    request = run(body, headers=lines, encoded=True, rules=EVERYBODY)
    assert (request.body, request.json, request.model) == (body, OBJECT, "m")
    assert request.exchange.streaming
    assert not request.exchange.request_is_ordinary
    passed = run(body, headers=lines, encoded=True)
    assert (passed.body, passed.document) == (body, None)


def test_a_changed_body_goes_up_plain():
    """Without the header lines about its coding and encoding."""
    lines = [(b"Content-Encoding", b"gzip"), (b"Content-Type", b"application/json; charset=utf-16")]
    lines.append((b"Content-Length", b"99"))
    request = run(
        gzip.compress(OBJECT.decode().encode("utf-16")), headers=lines, encoded=True, rules=EVERYBODY
    )
    changed = with_json(request, b"{}", {}, request.headers)
    assert changed.headers == [
        (b"X", b"y"),
        (b"Content-Type", b"application/json"),
        (b"Content-Length", b"2"),
    ]
    assert (changed.body, changed.text, changed.encoded) == (b"{}", None, False)


BROKEN = (b"no gzip", gzip.compress(OBJECT, mtime=0)[:-4])
"""In a coding that is known: no server can read these."""
UNREADABLE = [
    (b"x-foo", OBJECT),
    (b"gzip", BROKEN[0]),
    (b"gzip", BROKEN[1]),
    (b"gzip, x", OBJECT),
    (b"gzip", gzip.compress(b"no JSON", mtime=0)),
    (b"", OBJECT[:-1]),
    (b"", b"\xff\xfe\xfd{}"),
    (b"", b"[]"),
]


@pytest.mark.parametrize(("coding", "body"), UNREADABLE)
def test_an_unreadable_body_is_no_free_ride(coding, body):
    """If no rule needs it, it passes; if an allow-list of models holds, that refuses it."""
    lines = [(b"Content-Encoding", coding)] if coding else []
    fields = {"headers": lines, "encoded": bool(coding), "target": b"/responses"}
    with pytest.raises(UnreadableBody):
        run(body, rules=EVERYBODY, **fields)
    caller = exchange().credential_id
    with pytest.raises(UnreadableBody):
        run(body, rules=BodyRules(callers=frozenset([caller])), **fields)
    assert run(body, **fields).body == body
    exempt = BodyRules(everybody=True, exempt=frozenset([caller]))
    assert run(body, rules=exempt, **fields).body == body
    listed = BodyRules(everybody=True, allow_lists=frozenset([caller]))
    if body in BROKEN:
        with pytest.raises(UnreadableBody):
            run(body, rules=listed, **fields)
    else:
        assert run(body, rules=listed, **fields).document is None


def test_who_owns_stored_objects_refers_to_none_unread():
    """With `objects.owners`, a compressed body referred to anybody's: only limits and models had it decoded."""
    caller = frozenset([exchange().credential_id])
    owner = BodyRules(owners=caller)
    lines = [(b"Content-Encoding", b"gzip")]
    body = gzip.compress(b'{"previous_response_id":"resp_1"}', mtime=0)
    request = run(body, headers=lines, encoded=True, target=b"/responses", rules=owner)
    assert request.document == {"previous_response_id": "resp_1"}
    assert request.body == body
    for rules in (owner, BodyRules(owners=caller, allow_lists=caller)):
        for unread in (body[:-4], b"no gzip"):
            with pytest.raises(UnreadableBody):
                run(unread, headers=lines, encoded=True, target=b"/vector_stores", rules=rules)
        with pytest.raises(UnreadableBody):
            run(b'{"file_ids":["file-1"]', target=b"/vector_stores", rules=rules)
    # what is no matter of objects passes as it did
    assert run(b'{"model":"a","Model":"b"}', rules=owner).odd_names


def test_a_compressed_body_says_where_it_goes_if_it_can_be_read():
    """With several upstreams, all compressed requests went to the first one, wherever their conversation was."""
    routed = BodyRules(routed=True)
    lines = [(b"Content-Encoding", b"gzip")]
    body = gzip.compress(b'{"model":"m","previous_response_id":"resp_1"}', mtime=0)
    request = run(body, headers=lines, encoded=True, target=b"/responses", rules=routed)
    assert (request.model, request.body) == ("m", body)
    assert request.document["previous_response_id"] == "resp_1"
    deep = gzip.compress(b'{"a":' * 600 + b"1" + b"}" * 600, mtime=0)
    bomb = gzip.compress(b'{"a":"' + b" " * 5000 + b'"}', mtime=0)
    for unread in (b"no gzip", body[:-4], deep, bomb, gzip.compress(b"no JSON", mtime=0)):
        passed = run(unread, headers=lines, encoded=True, target=b"/responses", rules=routed)
        assert (passed.body, passed.document) == (unread, None)


def test_a_bomb_is_too_large():
    """A compressed body is bounded by what it holds."""
    with pytest.raises(RequestTooLarge):
        run(
            gzip.compress(b'{"a":"' + b" " * 5000 + b'"}'),
            headers=[(b"Content-Encoding", b"gzip")],
            encoded=True,
            rules=EVERYBODY,
        )


def test_two_models_are_none():
    """Which one counts depends on the server: a rule cannot go by either."""
    body = b'{"model":"cheap","Model":"dear"}'
    with pytest.raises(UnreadableBody):
        run(body, rules=EVERYBODY)
    assert run(body).body == body
    assert run(b'{"model":"a","Model":"a"}', rules=EVERYBODY).model == "a"


class Short(Arriving):
    """One that no limit is too small for."""

    def check_announced(self):
        pass


@pytest.mark.parametrize(
    ("sent", "read"), [(OBJECT, True), (b"plain text", False), (OBJECT.decode().encode("utf-16"), True)]
)
def test_a_body_without_a_type_is_known_by_how_it_begins(sent, read):
    """JSON is read, whatever its label; anything else streams through."""
    body = Short(sent)
    request = run(body, buffered=False, sniffed=True)
    assert request.body == (sent if read else body)
    assert request.model == ("m" if read else None)


@pytest.mark.parametrize(
    ("rules", "encoded", "read"),
    [(EVERYBODY, False, True), (EVERYBODY, True, True), (NO_RULES, False, False)],
)
def test_json_of_any_type_is_read_for_who_has_a_rule(rules, encoded, read):
    """Some servers read JSON whatever its type says; other uploads of binary data stream through."""
    sent = gzip.compress(OBJECT) if encoded else OBJECT
    lines = [(b"Content-Type", b"application/octet-stream"), *[(b"Content-Encoding", b"gzip")] * encoded]
    body = Short(sent)
    request = run(body, buffered=False, sniffed=True, headers=lines, encoded=encoded, rules=rules)
    assert request.body == (sent if read else body)
    assert request.model == ("m" if read else None)


def test_the_document_is_not_kept():
    """It takes far more memory than its bytes; the estimate of the prompt was made before."""
    body = b'{"model":"m","messages":[' + b"[]," * 2000 + b'"' + b"word" * 200 + b'"]}'
    request = run(body, limit=100_000, estimates=True)
    assert not isinstance(request.document["messages"], list)
    assert request.prompt_estimate == estimated_prompt(request) == 200
    later = run(body, limit=100_000)
    assert later.prompt_estimate is None
    assert estimated_prompt(later) == 200


def test_bodies_in_memory_are_bounded_together():
    """A body counts until its exchange ends; the next is refused meanwhile."""
    buffered = BufferedBytes(15_000)
    body = b'{"a":"' + b"x" * 9000 + b'"}'

    def ask():
        request = ProxyRequest(b"POST", b"/responses", [], body, exchange(), buffered=True)
        outcome = outcome_of(through(ReadBody(99_999, buffered=buffered), request, Recorder()))
        return request, isinstance(outcome, Overloaded)

    first, _ = ask()
    assert buffered.held_bytes == len(body)
    assert ask()[1]
    first.exchange.end(Outcome.COMPLETE, 1.0)
    assert buffered.held_bytes == 0
    assert not ask()[1]


@pytest.mark.parametrize("encoded", [False, True])
def test_a_body_counts_until_its_exchange_ends(encoded):
    """A compressed one counts with both: what came, and what it is when decoded."""
    plain = b'{"model":"m","input":"%b"}' % random.Random(1).randbytes(9000).hex().encode()
    sent = gzip.compress(plain) if encoded else plain
    buffered = BufferedBytes(1 << 20)
    lines = [(b"Content-Encoding", b"gzip")] * encoded
    request = ProxyRequest(b"POST", b"/responses", lines, sent, exchange(), buffered=True, encoded=encoded)
    through(ReadBody(99_999, EVERYBODY, buffered=buffered), request, Recorder())
    assert buffered.held_bytes == len(sent) + len(plain) * encoded
    request.exchange.end(Outcome.COMPLETE, 1.0)
    assert buffered.held_bytes == 0

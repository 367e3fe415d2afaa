"""Every line of the exchange log is JSON and says what happened, whatever strangers send."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from taken import Taken

from openai_proxy.exchange.outcome import Outcome
from openai_proxy.exchange.record import Exchange
from openai_proxy.observe.exchange_log.capture import Capture
from openai_proxy.observe.exchange_log.line import exchange_line
from openai_proxy.observe.exchange_log.torn_members import MOST_TORN_STRINGS

OWN = [
    *("timestamp", "request", "response", "id", "key", "model", "outcome", "duration_s", "first_byte_s"),
    *("usage", "cost_usd", "attempts", "cached"),
]


def line_of(headers, body, answer=b"", answer_headers=(), ordinary=None, **options):
    ended = Exchange(started=1.0, timestamp=1700000000.0, method="POST", path="/v1/chat/completions")
    ended.key, ended.model = "research-team", "gpt-4o-mini"
    ended.request_headers = headers
    ended.request_body = body
    if ordinary is None:
        try:
            ordinary = isinstance(json.loads(body), dict)
        except (ValueError, RecursionError):
            ordinary = False
    ended.request_is_ordinary = ordinary
    ended.response_headers = list(answer_headers)
    ended.status = 200
    ended.capture = Capture(10_000)
    ended.capture.response.feed(answer)
    ended.end(Outcome.COMPLETE, 2.0)
    raw = exchange_line(ended, 10_000, **options)
    assert raw.endswith(b"\n")
    assert raw.count(b"\n") == 1
    line = json.loads(raw, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert list(line)[: len(OWN)] == OWN
    assert (line["key"], line["model"], line["outcome"]) == ("research-team", "gpt-4o-mini", "complete")
    assert (line["request"]["method"], line["response"]["status_code"]) == ("POST", 200)
    return line


CENSORS = {
    "number": ([(b"Cookie", b"12345678")], {"seed": 12345678}),
    "float": ([(b"Cookie", b"1.2345678")], {"temperature": 1.2345678}),
    "own members": ([(b"Cookie", b"research-team gpt-4o-mini complete completions temperature")], {}),
    "words": (
        [(b"X-Session-Key", b"exfiltrate customer database")],
        {"user": "exfiltrate customer database"},
    ),
    "another credential": ([(b"X-Api-Key", b"research-team")], {"user": "research-team"}),
    "digits": ([(b"Authorization", b"Bearer 12345678")], {"seed": 12345678}),
    "a key": ([(b"Authorization", b"Bearer gpt-4o-mini")], {}),
    "syntax": ([(b"Authorization", b'Bearer "request":{"method"')], {}),
}


@pytest.mark.parametrize("case", CENSORS)
def test_a_header_does_not_censor_the_line(case):
    """Neither our members, nor numbers, nor prompts are blotted out by what a header says."""
    headers, more = CENSORS[case]
    document = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **more}
    line = line_of(headers, json.dumps(document).encode())
    assert line["request"]["body"] == document
    assert line["request"]["path"] == "/v1/chat/completions"


@pytest.mark.parametrize("key", ["sk-client-0001", 'quo"ted\\key-1', "k\u00e9y-of-alice"])
@pytest.mark.parametrize("written", [json.dumps, lambda value: json.dumps(value, ensure_ascii=False)])
def test_the_callers_key_is_nowhere(key, written):
    """In prompt and answer too, however JSON writes it."""
    body = written({"model": "m", "messages": [{"role": "user", "content": f"my key is {key}."}]}).encode()
    headers = [(b"Authorization", b"Bearer " + key.encode("latin-1")), (b"User-Agent", key.encode("latin-1"))]
    for ordinary in (True, False):
        line = line_of(headers, body, body, [(b"content-type", b"application/json")], ordinary)
        for part in (line["request"], line["response"]):
            assert part["body"]["messages"][0]["content"] == "my key is [redacted]."
        assert line["request"]["headers"]["User-Agent"] == "[redacted]"


def test_our_own_key_is_nowhere():
    """An upstream that repeats the key that we sent it gives nothing away."""
    line = line_of([], b"{}", b'{"error":{"message":"bad key upstream-0001"}}', secrets=["upstream-0001"])
    assert line["response"]["body"] == {"error": {"message": "bad key [redacted]"}}


def test_numbers_are_written_as_they_came():
    """A body without a credential is copied: no number loses a digit."""
    line = line_of([], b'{"model":"m","big":123456789012345678901234567890,"x":1.10}')
    assert line["request"]["body"]["big"] == 123456789012345678901234567890


names = st.sampled_from(
    [
        b"Authorization",
        b"Cookie",
        b"api-key",
        b"X-Api-Key",
        b"User-Agent",
        b"Content-Type",
        b"X-Secret",
        b"Via",
    ]
)
values = st.binary(max_size=40) | st.sampled_from(
    [b"Bearer complete", b"outcome", b'","key":"', b"\\\\\\", b"12345678", b"application/json", b"[redacted]"]
)
members = st.dictionaries(
    st.sampled_from(["api_key", "headers", "server_url", "client_secret", "content", "x"])
    | st.text(max_size=5),
    st.recursive(
        st.text(max_size=20) | st.integers() | st.floats() | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)
bodies = members.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60)
kinds = st.sampled_from([b"application/json", b"text/event-stream", b"text/plain", b"multipart/form-data"])


@given(
    st.lists(st.tuples(names, values), max_size=5),
    bodies,
    bodies,
    kinds,
    st.integers(1, 60),
    st.booleans(),
)
def test_every_line_is_json(headers, body, answer, kind, limit, streamed):
    """Hostile headers and bodies, whole, cut off or streamed."""
    if streamed:
        answer = b"data: " + answer + b"\n\n"
    line_of(headers, body, answer, [(b"Content-Type", kind)])
    line_of(headers, body[:limit], answer[:limit], [(b"Content-Type", kind)])


@pytest.mark.parametrize(
    "unit", [b'"m%d":"v"', b'"m%d":[]', b'"m%d":{"a":"12345678"}'], ids=["strings", "lists", "objects"]
)
@pytest.mark.parametrize("ordinary", [True, False], ids=["accepted", "refused"])
def test_a_body_of_very_many_members_is_shown_by_its_beginning(unit, ordinary):
    """To look into each of 100,000 members took 0.2 s, in which nobody else was served."""
    body = b"{" + b",".join(unit % n for n in range(100_000)) + b"}"
    ended = Exchange(started=1.0, timestamp=1.0, method="POST", path="/v1/chat/completions")
    ended.request_headers = [(b"Content-Type", b"application/json")]
    ended.request_body, ended.request_is_ordinary = body, ordinary
    ended.end(Outcome.REJECTED, 2.0)
    shown = json.loads(exchange_line(ended, len(body)))["request"]["body"]
    assert list(shown) == ["bytes", "sha256", "truncated", "text"]
    assert (shown["bytes"], shown["truncated"]) == (len(body), True)
    assert shown["text"].startswith('{"m0":')
    assert 0 < shown["text"].count('"') <= 2 * MOST_TORN_STRINGS


VALUES = st.sampled_from(
    [
        "hi",
        1,
        1.5,
        None,
        True,
        "a\nb",
        "é",
        "sk-abcdefgh12345678",
        "my key is Zz8-of-alice",
        {"api_key": "x" * 9},
        ["Zz8-of-alice"],
    ]
)
MEMBERS = st.dictionaries(
    st.sampled_from(["model", "input", "metadata", "token", "user"]), VALUES, max_size=3
)


def test_a_body_that_is_copied_says_what_a_decoded_one_says():
    """The caller's key and other credentials are hidden in both, however the JSON is written."""
    headers = [(b"Authorization", b"Bearer Zz8-of-alice"), (b"Content-Type", b"application/json")]
    with Taken() as note:

        @given(MEMBERS, st.booleans(), st.sampled_from([None, 1]))
        def check(members, is_ascii, indent):
            body = json.dumps(members, ensure_ascii=is_ascii, indent=indent).encode()
            copied, decoded = (
                line_of(headers, body, ordinary=each)["request"]["body"] for each in (True, False)
            )
            note(copied == members)
            assert copied == decoded
            assert "Zz8" not in str(copied)

        check()

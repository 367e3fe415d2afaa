"""What the console and the JSON lines say of an exchange."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.exchange.client_address import Peer, TrustedProxies, parse_address
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.exchange.record import Exchange
from openai_proxy.exchange.usage import TokenKinds, Usage
from openai_proxy.observe.lines.encode import json_line
from openai_proxy.observe.lines.record import bare_path, metadata, shown, text_line


def ended(outcome=Outcome.COMPLETE, **fields):
    exchange = Exchange(started=10.0, timestamp=1700000000.1234, method="POST", path="/v1/chat/completions")
    for name, value in fields.items():
        setattr(exchange, name, value)
    exchange.end(outcome, 11.25)
    return exchange


def test_line_of_a_complete_exchange():
    """One glance shows who asked what, and how it went."""
    exchange = ended(
        key="alice",
        model="gpt-4o-mini",
        status=200,
        first_byte_at=10.5,
        usage=Usage(5, 7),
        cost_usd=0.00012,
        attempts=1,
    )
    assert text_line(exchange) == (
        "2023-11-14T22:13:20.123Z alice POST /v1/chat/completions gpt-4o-mini 200 1.250s "
        f"first=0.500s tokens=5/7 cost=$0.000120 complete id={exchange.id}"
    )


def test_line_of_a_failed_exchange_names_it():
    """If something failed, the id leads from the client's error to the line."""
    exchange = ended(
        Outcome.UPSTREAM_ERROR,
        error_code="upstream_unreachable",
        attempts=3,
        usage=Usage(1, 2, estimated=True),
    )
    line = text_line(exchange)
    assert line.endswith(f"upstream_error attempts=3 code=upstream_unreachable id={exchange.id}")
    assert "tokens=~1/2" in line


def test_why_the_upstream_failed_is_said_in_a_sentence():
    """Its words are ours, but for the names of a certificate: those can neither end the line nor the quotes."""
    exchange = ended(
        Outcome.UPSTREAM_ERROR, upstream_failure='its certificate is for a"b\n\x1b[31m, not for localhost'
    )
    line = text_line(exchange)
    assert 'reason="its certificate is for a?b??[31m, not for localhost" id=' in line
    assert metadata(exchange)["upstream_failure"] == exchange.upstream_failure
    assert "reason" not in text_line(ended(Outcome.COMPLETE))


CALLERS = [
    ({"key": "alice", "credential_id": "alice"}, "alice"),
    ({"credential_id": "cred-0123456789abcdef"}, "key-01234567"),
    ({"unknown_key": "key-89abcdef"}, "key-89abcdef"),
    ({}, None),
]


@pytest.mark.parametrize(("fields", "caller"), CALLERS)
def test_lines_name_the_caller(fields, caller):
    """In pass-through mode, and for a key that nobody knows, by the digest that limits go by."""
    exchange = ended(**fields)
    assert text_line(exchange).split()[1] == (caller or "-")
    assert metadata(exchange)["key"] == caller


@pytest.mark.parametrize("kind", ["requests", "tokens", "concurrent"])
def test_lines_tell_the_limits_apart(kind):
    """The client's code is the same for all three."""
    exchange = ended(Outcome.LIMIT, rate_limited=kind, error_code="rate_limit_exceeded")
    assert f" code={kind}_limit_exceeded " in text_line(exchange)
    assert metadata(exchange)["error_code"] == f"{kind}_limit_exceeded"
    assert exchange.error_code == "rate_limit_exceeded"


def test_lines_say_where_from_how_long_it_waited_and_both_ids():
    """To ask the provider about a request, and to find who sends too many."""
    exchange = ended(
        status=200,
        queued_s=0.75,
        peer=Peer(parse_address("192.0.2.7"), TrustedProxies.of([]), is_proxy=False),
        response_headers=[(b"X-Request-Id", b"req_abc")],
    )
    line = text_line(exchange)
    assert line.endswith(f" waited=0.750s client=192.0.2.7 upstream_id=req_abc id={exchange.id}")
    assert "192.0.2.7" not in text_line(exchange, with_address=False)
    members = metadata(exchange)
    assert (members["queued_s"], members["client_address"], members["upstream_request_id"]) == (
        0.75,
        "192.0.2.7",
        "req_abc",
    )
    assert "client_address" not in metadata(exchange, with_address=False)


def test_our_own_request_id_is_not_the_upstreams():
    """An error of ours has the exchange's id in that header."""
    exchange = ended(
        Outcome.REJECTED, error_code="invalid_api_key", response_headers=[(b"x-request-id", b"proxy-1")]
    )
    assert "upstream_id" not in text_line(exchange)
    assert metadata(exchange)["upstream_request_id"] is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "-"),
        ("", "-"),
        ("gpt-4o", "gpt-4o"),
        ("a\nb\x1b[31m", "a\\nb\\x1b[31m"),
        ("a b\\", "a\\x20b\\\\"),
        ("\ud800\u2028", "\\ud800\\u2028"),
        ("é", "é"),
    ],
)
def test_strangers_values_are_escaped(value, expected):
    """Nobody forges a line or colours the terminal."""
    assert shown(value) == expected


def test_sound_is_counted_apart():
    """Under the names of the specification of WebSocket turns; what was not used is left out."""
    kinds = TokenKinds(audio_input_tokens=60, audio_output_tokens=15)
    usage = metadata(ended(usage=Usage(100, 20, kinds=kinds)))["usage"]
    assert {name: count for name, count in usage.items() if name.startswith(("audio", "image"))} == {
        "audio_input_tokens": 60,
        "audio_output_tokens": 15,
    }


@given(st.text(alphabet=st.characters()))
def test_shown_is_one_bounded_printable_word(value):
    """Whatever a stranger sends, it stays one short printable word."""
    word = shown(value)
    assert word.isprintable()
    assert " " not in word
    assert len(word) <= 403


def test_query_is_never_shown():
    """A key in a query stays out of the logs."""
    exchange = ended(path="/v1/models?api_key=sk-canary")
    assert "canary" not in text_line(exchange)
    assert "canary" not in json.dumps(metadata(exchange))


def test_metadata_is_a_json_line():
    """The JSON line has the documented keys."""
    record = json.loads(json_line(metadata(ended(model="m\ud800", status=200, usage=Usage(5, 7)))))
    assert record["model"] == "m\ud800"
    assert record["usage"]["total_tokens"] == 12
    assert list(record)[:6] == ["timestamp", "id", "key", "method", "path", "endpoint"]


@pytest.mark.parametrize("value", [1 << 70, float("inf"), "\udfff", [[[[]]]], 10**5000], ids=range(5))
def test_any_decoded_json_makes_a_valid_line(value):
    """What orjson refuses still gives one line of valid JSON."""

    def fail(constant):
        raise AssertionError(constant)

    nested = value
    for _ in range(300):
        nested = [nested]
    for each in (value, nested):
        line = json_line({"a": each, "surrogate": "\ud800"})
        assert line.count(b"\n") == 1
        json.loads(line, parse_constant=fail)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/v1/models?x=1", "/v1/models"),
        ("/v1/models#x", "/v1/models"),
        ("http://user:key@host/v1/models?x", "/v1/models"),
        ("http://user:key@host", "/"),
        ("user:key@host:443", "host:443"),
        ("*", "*"),
        ("/v1/a://b@c", "/v1/a://b@c"),
        ("", ""),
    ],
)
def test_bare_path(target, path):
    """Of a target only the path is recorded: no query, no fragment, no user, no host."""
    assert bare_path(target) == path

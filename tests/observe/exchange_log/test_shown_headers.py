"""No credential in a header is ever written, and what helps to find a fault stays readable."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from taken import Taken

from openai_proxy.exchange.bounded_memo import memo_of
from openai_proxy.observe.exchange_log import shown_headers as module
from openai_proxy.observe.exchange_log.shown_headers import shown_headers
from openai_proxy.observe.redaction import scrubbed_once

SECRET = b"CANARY-0123456789"


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "api-key",
        "X-Api-Key",
        "Cookie",
        "Set-Cookie",
        "Proxy-Authorization",
        "X-Goog-Api-Key",
        "X-Auth-Token",
        "Sec-WebSocket-Protocol",
        "Referer",
        "Location",
        "X-Unknown",
        "X-Forwarded-Access-Token",
        "x-amz-security-token",
    ],
)
def test_header_that_may_hold_a_secret_is_redacted(name):
    """Whatever the header is called, a long value that is not known to be harmless is not shown."""
    assert shown_headers([(name.encode(), SECRET)]) == {name: "[redacted]"}


def test_harmless_headers_are_shown():
    """What helps to find a fault stays readable."""
    pairs = [
        (b"Content-Type", b"application/json"),
        (b"X-Custom", b"v"),
        (b"x-ratelimit-limit-tokens", b"100000"),
    ]
    assert shown_headers([*pairs, (b"Via", b"1.1 a"), (b"Via", b"1.1 b")]) == {
        "Content-Type": "application/json",
        "X-Custom": "v",
        "x-ratelimit-limit-tokens": "100000",
        "Via": "1.1 a, 1.1 b",
    }


@pytest.mark.parametrize("name", [b"X-Key", b"authorization", b"Cookie"])
def test_short_credential_is_redacted(name):
    """A header that is named after a secret is redacted however short it is."""
    assert list(shown_headers([(name, b"a")]).values()) == ["[redacted]"]


def test_a_key_in_a_headers_name_is_scrubbed():
    """A program that confuses name and value gives nothing away."""
    assert shown_headers([(b"x-sk-abcdef1234", b"1")]) == {"x-[redacted]": "1"}


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        (b"Traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", SECRET),
        (b"content-length", b"12", SECRET),
    ],
)
def test_header_that_has_a_shape_is_shown_in_it_alone(name, good, bad):
    """What is no trace parent, or no length, is somebody's secret."""
    assert list(shown_headers([(name, good)]).values()) == [good.decode()]
    assert list(shown_headers([(name, bad)]).values()) == ["[redacted]"]


def lines(count):
    """Each with values of its own, and a key."""
    return [[(b"X-Request-Id", b"req-%d" % n), (b"api-key", b"canary-%08d" % n)] for n in range(count)]


def test_many_different_lines_are_shown_rightly():
    """Lines that were forgotten are found out again."""
    for n, pairs in enumerate(lines(5000)):
        assert shown_headers(pairs) == {"X-Request-Id": f"req-{n}", "api-key": "[redacted]"}


def test_values_that_never_repeat_are_not_remembered():
    """They would push out those that do."""
    for pairs in lines(10):
        shown_headers([*pairs, (b"x-ratelimit-remaining-tokens", b"199,%03d" % len(pairs))])
    assert [value for value in memo_of(module._harmless) if value.startswith((b"req-", b"199,"))] == []


def test_credentials_are_not_remembered():
    """Nothing here holds a client's key after its line was written, nor what may be one."""
    pairs = [
        (b"Authorization", b"Bearer canary-in-memory-1"),
        (b"X-Whatever", b"canary-in-memory-2"),
        (b"User-Agent", b"curl sk-canary-in-memory-3"),
        (b"x-sk-canary-in-memory-4", b"1"),
    ]
    shown_headers(pairs)
    assert "canary-in-memory" not in repr(memo_of(module._harmless)) + repr(memo_of(module._rule))


FIELDS = [
    b"Content-Type",
    b"x-request-id",
    b"Vary",
    b"User-Agent",
    b"X-Unknown",
    b"Authorization",
    b"x-sk-" + b"a1" * 9,
]
VALUES = [b"a", b"a; x=1", b"sk-abcdefgh12345678", b"0123456789", b"", b"b" * 300, b"\xe9%20a=b", b"token=x"]


@given(st.lists(st.tuples(st.sampled_from(FIELDS), st.sampled_from(VALUES)), min_size=1, max_size=8))
def test_what_was_shown_before_changes_nothing(pairs):
    """A line shows the same in whatever company, and however often it was seen."""
    shown = shown_headers(pairs)
    for memo in (memo_of(module._harmless), memo_of(module._rule)):
        memo.clear()
    assert shown_headers(pairs) == shown
    apart = [next(iter(shown_headers([pair]).items())) for pair in pairs]
    assert shown == {label: ", ".join(text for other, text in apart if other == label) for label, _ in apart}


PIECES = [
    "req_",
    "0af7",
    "-",
    "=",
    "%73",
    "%2F",
    "k-",
    "sk-",
    "abcdefgh",
    "Bearer ",
    "token",
    "\xe9",
    " ",
    "1",
]


def test_a_value_that_comes_once_is_shown_as_any_text():
    """What looks like a key is found in it, and nothing else is lost."""
    with Taken() as note:

        @given(st.lists(st.sampled_from(PIECES), max_size=6).map("".join))
        def check(text):
            shown = shown_headers([(b"x-request-id", text.encode("latin-1"))])["x-request-id"]
            note(shown == text)
            assert shown == scrubbed_once(text)

        check()

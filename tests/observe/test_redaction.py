"""No credential is ever written."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.observe.redaction import credentials, scrubbed, shown_headers, without_secrets

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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpt-4o-mini", "gpt-4o-mini"),
        ("task-manager-2000", "task-manager-2000"),
        ("/v1/sk-proj-abcdef123", "/v1/[redacted]"),
        ("curl Bearer abc.def", "curl [redacted]"),
        ("?a=1&api_key=xyz&sig=1", "?a=1&api_key=[redacted]&sig=[redacted]"),
        ("boundary=abc", "boundary=abc"),
        ("gsk_abcdefgh1234", "[redacted]"),
        ("a ghp_abcdefgh1234, AKIAABCDEFGH", "a [redacted], [redacted]"),
        ("AIzaSyabcdefghijkl", "[redacted]"),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl", "[redacted]"),
        ("Basic dXNlcjpwYXNz", "[redacted]"),
        ("/v1/files/%73k-abcdef1234", "/v1/files/[redacted]"),
        ("/v1/files/a%2Fb", "/v1/files/a%2Fb"),
        ("/v1/files;token=x", "/v1/files;token=[redacted]"),
        ("ft:gpt-4o:my-org::AbCdEfGh", "ft:gpt-4o:my-org::AbCdEfGh"),
        ("hf.co/org/model-GGUF", "hf.co/org/model-GGUF"),
    ],
)
def test_key_like_text_is_scrubbed(text, expected):
    """A key in the wrong place is recognised."""
    assert scrubbed(text) == expected


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


def test_credentials_are_blotted_out_everywhere():
    """A key that the upstream repeats in its answer is not in the line."""
    found = credentials(
        [
            (b"Authorization", b"Bearer sk-client-0001"),
            (b"Sec-WebSocket-Protocol", b"realtime, openai-insecure-api-key.abcdefgh1"),
            (b"Accept", b"application/json"),
        ]
    )
    assert found == [b"sk-client-0001", b"abcdefgh1"]
    assert without_secrets(b'{"a":"sk-client-0001 abcdefgh1"}', found) == b'{"a":"[redacted] [redacted]"}'


@given(st.text(max_size=60))
def test_no_cookie_can_break_a_line(cookie):
    """Whatever a client calls its secret, the line stays JSON with its keys."""
    line = b'{"timestamp":"x","request":{"method":"POST"},"outcome":"complete"}'
    blotted = without_secrets(line, credentials([(b"Cookie", cookie.encode())]))
    assert list(json.loads(blotted)) == ["timestamp", "request", "outcome"]


@pytest.mark.parametrize(
    "cookie", [b'"request":{"method":', b"timestamp", b"complete", b"T12:00:00", b'","reques']
)
def test_forged_cookie_can_not_break_a_line(cookie):
    """A cookie made of our own syntax changes nothing."""
    line = b'{"timestamp":"x","request":{"method":"POST"},"outcome":"complete"}'
    assert without_secrets(line, credentials([(b"Cookie", cookie)])) == line

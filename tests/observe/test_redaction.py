"""No credential is ever written."""

import pytest

from openai_proxy.exchange.bounded_memo import memo_of
from openai_proxy.observe.redaction import credentials, scrubbed


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


def test_credentials_are_the_keys_and_nothing_else():
    """A key that the upstream repeats in its answer can be blotted out; words of other headers are not keys."""
    found = credentials(
        [
            (b"Authorization", b"Bearer sk-client-0001"),
            (b"Sec-WebSocket-Protocol", b"realtime, openai-insecure-api-key.abcdefgh1"),
            (b"X-Api-Key", b"CANARYxapikey555"),
            (b"X-Goog-Api-Key", b"gpt-4o-mini-2024-07-18"),
            (b"Proxy-Authorization", b"Basic completions"),
            (b"Cookie", b"12345678 messages a=temperature"),
            (b"X-Secret-Token", b"research-team"),
        ]
    )
    assert found == ["CANARYxapikey555", "sk-client-0001", "abcdefgh1"]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (b"authorization", b"Bearer  opaque-word ", ["opaque-word"]),
        (b"authorization", b"opaque-word", ["opaque-word"]),
        (b"authorization", b"Basic dXNlcjpwYXNz", ["dXNlcjpwYXNz"]),
        (b"api-key", b"opaque-word", ["opaque-word"]),
        (b"authorization", b"Bearer short", []),
    ],
)
def test_who_calls_is_told_by_the_whole_credential(name, value, expected):
    """Whatever its scheme and its look, the key that names the caller counts as a key."""
    assert credentials([(name, value)]) == expected


@pytest.mark.parametrize(
    "text", ["sk-canary-harmless", "/v1/%73k-canary-harmless", "a?token=canary-harmless"]
)
def test_no_key_stays_in_memory(text):
    """Texts are remembered only if nothing in them had to be hidden."""
    assert "canary-harmless" not in scrubbed(text)
    assert "canary-harmless" not in repr(memo_of(scrubbed))

"""No credential is ever written."""

import pytest

from openai_proxy.exchange.bounded_memo import memo_of
from openai_proxy.observe.redaction import scrubbed


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


@pytest.mark.parametrize(
    "text", ["sk-canary-harmless", "/v1/%73k-canary-harmless", "a?token=canary-harmless"]
)
def test_no_key_stays_in_memory(text):
    """Texts are remembered only if nothing in them had to be hidden."""
    assert "canary-harmless" not in scrubbed(text)
    assert "canary-harmless" not in repr(memo_of(scrubbed))

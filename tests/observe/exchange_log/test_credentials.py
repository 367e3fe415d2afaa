"""The keys of a request are known by the header that carries them."""

import pytest

from openai_proxy.observe.exchange_log.credentials import credentials


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

"""Where credentials are found, and that none of the client's survives a swap."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.policies.authenticate.credentials import (
    CredentialSwap,
    find_client_digest,
    find_client_key,
    find_credential,
    replace_credentials,
)

PROTOCOL = b"Sec-WebSocket-Protocol"


@pytest.mark.parametrize(
    ("headers", "credential", "key"),
    [
        ([], None, None),
        ([(b"Accept", b"Bearer x")], None, None),
        ([(b"Authorization", b"Bearer sk-1")], b"Bearer sk-1", b"sk-1"),
        ([(b"AUTHORIZATION", b"bEaReR   sk-1 ")], b"bEaReR   sk-1 ", b"sk-1"),
        ([(b"Authorization", b"Bearer a b c")], b"Bearer a b c", b"a b c"),
        ([(b"Authorization", b"Basic dTpw")], b"Basic dTpw", None),
        ([(b"Authorization", b"")], None, None),
        ([(b"Authorization", b"Bearer")], None, None),
        ([(b"Authorization", b"Bearer ")], None, None),
        ([(b"Authorization", b"Bearer "), (b"api-key", b"k")], b"k", b"k"),
        ([(b"Authorization", b"Basic x"), (b"authorization", b"Bearer y")], b"Basic x", b"y"),
        ([(b"Api-Key", b" k ")], b"k", b"k"),
        ([(b"api-key", b"")], None, None),
        ([(b"x-api-key", b"k")], None, None),
        ([(PROTOCOL, b"realtime, openai-insecure-api-key.sk-1,x")], b"sk-1", b"sk-1"),
        ([(PROTOCOL, b"realtime")], None, None),
        ([(PROTOCOL, b"openai-insecure-api-key.")], None, None),
        (
            [(PROTOCOL, b"openai-insecure-api-key.ws"), (b"Authorization", b"Bearer b")],
            b"Bearer b",
            b"b",
        ),
    ],
)
def test_credentials_are_found_where_clients_put_them(headers, credential, key):
    """Every SDK's way to send a key is understood; an empty one is none."""
    assert (credential, key) == (find_credential(headers), find_client_key(headers))


@pytest.mark.parametrize(
    ("headers", "auth_header", "expected"),
    [
        ([], b"authorization", [(b"Authorization", b"Bearer UP")]),
        (
            [(b"A", b"1"), (b"authorization", b"Basic x"), (b"B", b"2"), (b"Authorization", b"Bearer c")],
            b"authorization",
            [(b"A", b"1"), (b"Authorization", b"Bearer UP"), (b"B", b"2")],
        ),
        (
            [(b"api-key", b"c"), (b"A", b"1"), (b"X-API-Key", b"c"), (b"Proxy-Authorization", b"c")],
            b"authorization",
            [(b"Authorization", b"Bearer UP"), (b"A", b"1")],
        ),
        ([(b"A", b"1"), (b"Authorization", b"Bearer c")], b"api-key", [(b"A", b"1"), (b"api-key", b"UP")]),
        ([(b"X-Own", b"c"), (b"A", b"1")], b"x-own", [(b"x-own", b"UP"), (b"A", b"1")]),
        (
            [(PROTOCOL, b"realtime, openai-insecure-api-key.c, x")],
            b"authorization",
            [(PROTOCOL, b"realtime, openai-insecure-api-key.UP, x")],
        ),
        (
            [(PROTOCOL, b"openai-insecure-api-key.c,realtime"), (b"Authorization", b"Bearer c")],
            b"authorization",
            [(PROTOCOL, b"openai-insecure-api-key.UP,realtime"), (b"Authorization", b"Bearer UP")],
        ),
        (
            [(PROTOCOL, b"OpenAI-Insecure-API-Key.c, a , openai-insecure-api-key.d"), (PROTOCOL, b"b")],
            b"authorization",
            [(PROTOCOL, b"openai-insecure-api-key.UP, a"), (PROTOCOL, b"b")],
        ),
        (
            [(PROTOCOL, b"openai-insecure-api-key.c")],
            b"api-key",
            [(PROTOCOL, b"openai-insecure-api-key.UP"), (b"api-key", b"UP")],
        ),
        (
            [(PROTOCOL, b"realtime")],
            b"authorization",
            [(PROTOCOL, b"realtime"), (b"Authorization", b"Bearer UP")],
        ),
    ],
)
def test_the_upstream_key_replaces_every_credential(headers, auth_header, expected):
    """The key of ours stands where the client's stood; all other lines are as sent."""
    assert expected == replace_credentials(headers, auth_header, b"UP")


_lines = st.one_of(
    st.tuples(
        st.sampled_from([b"Authorization", b"api-key", b"X-Api-Key", b"proxy-authorization"]),
        st.sampled_from([b"Bearer CANARY", b"CANARY", b"Basic CANARY", b""]),
    ),
    st.tuples(
        st.just(PROTOCOL),
        st.sampled_from([b"openai-insecure-api-key.CANARY, x", b"a,openai-insecure-api-key.CANARY", b"r"]),
    ),
    st.just((b"A", b"v")),
)


@given(st.lists(_lines), st.sampled_from([b"authorization", b"api-key"]))
def test_no_client_credential_survives(headers, auth_header):
    """Whatever lines a client sends, its key reaches no upstream and ours always does."""
    result = replace_credentials(headers, auth_header, b"UP")
    assert b"CANARY" not in b"\n".join(v for _, v in result)
    assert any(b"UP" in v for _, v in result)
    assert headers.count((b"A", b"v")) == result.count((b"A", b"v"))


@pytest.mark.parametrize(("key", "remove_empty"), [(b"UP", False), (b"UP", True), (b"", False), (b"", True)])
def test_a_swap_made_once_replaces_as_any_other(key, remove_empty):
    """It is `replace_credentials` with one key; an empty one can be no line at all."""
    swap = CredentialSwap(b"Authorization", key, remove_empty)
    lines = [(b"Authorization", b"Bearer c"), (b"Content-Length", b"5")]
    expected = replace_credentials(lines, b"Authorization", key)
    if remove_empty and not key:
        expected = expected[1:]
    assert swap.on(lines) == expected


def test_the_digest_of_the_clients_key():
    """It is looked up by what `find_client_key` finds, None if there is none."""
    assert find_client_digest([(b"Authorization", b"Bearer c")]) == sha256(b"c").digest()
    assert find_client_digest([(b"X", b"c")]) is None

"""Organization and project of a client key."""

import pytest

from openai_proxy.policies.authenticate.organization import Account

CLIENT = [(b"A", b"1"), (b"openai-organization", b"org-c"), (b"OPENAI-PROJECT", b"proj-c"), (b"B", b"2")]
PROTOCOL = b"Sec-WebSocket-Protocol"


@pytest.mark.parametrize(
    ("account", "expected"),
    [
        (Account(), [(b"A", b"1"), (b"B", b"2")]),
        (Account(own_allowed=True), CLIENT),
        (Account(b"org-k"), [(b"A", b"1"), (b"B", b"2"), (b"OpenAI-Organization", b"org-k")]),
        (Account(b"o", b"p"), [(b"A", b"1"), (b"B", b"2"), (b"OpenAI-Organization", b"o"), (b"OpenAI-Project", b"p")]),
        (Account(b"o", own_allowed=True), [CLIENT[0], CLIENT[2], CLIENT[3], (b"OpenAI-Organization", b"o")]),
    ],
)  # fmt: skip
def test_lines(account, expected):
    """What the key fixes is set; the client's own goes only if it is allowed."""
    assert account.on(CLIENT) == expected


def test_a_name_with_underscores_is_no_way_round():
    """CGI, WSGI and their kin hand both spellings to a program as one."""
    lines = [(b"OpenAI_Organization", b"org-c"), (b"openai_project", b"proj-c"), (b"X_A", b"1")]
    assert Account(b"o").on(lines) == [(b"X_A", b"1"), (b"OpenAI-Organization", b"o")]
    assert Account(own_allowed=True).on(lines) == lines


@pytest.mark.parametrize(
    ("account", "offered", "expected"),
    [
        (Account(), b"realtime, openai-organization.org-c, x, OpenAI-Project.p", b"realtime, x"),
        (Account(), b"realtime, openai-insecure-api-key.k", b"realtime, openai-insecure-api-key.k"),
        (Account(own_allowed=True), b"realtime, openai-project.p", b"realtime, openai-project.p"),
        (
            Account(project=b"q", own_allowed=True),
            b"openai-organization.o,openai-project.p",
            b"openai-organization.o",
        ),
        (Account(), b"openai-project.p", None),
    ],
)
def test_subprotocols(account, offered, expected):
    """A browser's WebSocket says both in its subprotocols: no way round."""
    lines = [pair for pair in account.on([(PROTOCOL, offered)]) if pair[0] == PROTOCOL]
    assert lines == ([] if expected is None else [(PROTOCOL, expected)])

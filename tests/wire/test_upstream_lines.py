"""Static lines and parameters, and what is kept from an upstream."""

import pytest

from openai_proxy.wire.upstream_lines import UpstreamLines, UpstreamQuery

EDGE = [
    (b"CF-Ray", b"8f"),
    (b"cdn-loop", b"cloudflare"),
    (b"Cookie", b"sso"),
    (b"X-Forwarded-For", b"1.2.3.4"),
    (b"X-Mine", b"kept"),
]
ALWAYS = [
    (b"Authorization", b"Bearer k"),
    (b"API-Key", b"k"),
    (b"x-api-key", b"k"),
    (b"Content-Length", b"2"),
    (b"Content-Type", b"application/json"),
    (b"Content-Encoding", b"gzip"),
    (b"Expect", b"100-continue"),
    (b"Sec-WebSocket-Key", b"k"),
    (b"X-Key", b"k"),
]


def test_globs_of_any_case():
    """What a CDN and a sign-on proxy add can be kept from the upstream."""
    lines = UpstreamLines(("cf-*", "cdn-loop", "x-forwarded-*", "cookie"))
    assert lines.on(EDGE + ALWAYS) == [EDGE[-1], *ALWAYS]


def test_credentials_and_framing_always_stay():
    """No glob takes them, and not the header that carries the key."""
    assert UpstreamLines(("*",), auth_header=b"x-key").on(EDGE + ALWAYS) == ALWAYS


def test_static_lines_replace_the_clients():
    """Once, however the client spelled it, and also if globs would drop it."""
    lines = UpstreamLines(("x-*",), [(b"X-Mine", b"ours"), (b"OpenAI-Project", b"p")])
    assert lines.on([(b"x-mine", b"theirs"), (b"A", b"1")]) == [
        (b"A", b"1"),
        (b"X-Mine", b"ours"),
        (b"OpenAI-Project", b"p"),
    ]


def test_a_name_with_underscores_is_the_same():
    """CGI and its kin would take `X_Forwarded_For` for the line that was dropped."""
    lines = UpstreamLines(("x-forwarded-*", "x_own"), [(b"OpenAI-Project", b"p")])
    given = [(b"X_Forwarded_For", b"1"), (b"OpenAI_Project", b"q"), (b"X_Own", b"1"), (b"X_Kept", b"1")]
    assert lines.on(given) == [(b"X_Kept", b"1"), (b"OpenAI-Project", b"p")]


def test_a_yielding_line_stands_only_where_there_is_none():
    """What a client key fixes takes precedence over what holds for all of them."""
    lines = UpstreamLines((), [(b"OpenAI-Project", b"all")], frozenset([b"openai-project"]))
    assert lines.on([(b"openai-project", b"key")]) == [(b"openai-project", b"key")]
    assert lines.on([]) == [(b"OpenAI-Project", b"all")]


def test_nothing_configured_is_nothing_to_do():
    """Then requests go without a look at their lines."""
    assert not UpstreamLines()
    assert not UpstreamQuery()
    assert UpstreamLines(("x",))
    assert UpstreamLines((), [(b"A", b"1")])


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/models", b"/models?api-version=1&k=a%20%26b"),
        (b"/models?x=%41&y", b"/models?x=%41&y&api-version=1&k=a%20%26b"),
        (b"/models?api-version=9&x=1", b"/models?x=1&api-version=1&k=a%20%26b"),
        (b"/models?api%2Dversion=9&k", b"/models?api-version=1&k=a%20%26b"),
        (b"/models?", b"/models?api-version=1&k=a%20%26b"),
    ],
)
def test_static_parameters(target, expected):
    """They replace the client's of the same name; all else stays byte for byte."""
    assert UpstreamQuery([("api-version", "1"), ("k", "a &b")]).on(target) == expected

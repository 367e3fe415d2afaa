"""Targets: what is the API, what may not pass."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.core.errors import MalformedRequest, MisdirectedRequest, ProxyError, UnknownURL
from openai_proxy.core.paths import API_METHODS, map_target, origin_form

OURS = frozenset({b"localhost:8080", b"127.0.0.1:8080"})


@pytest.mark.parametrize(
    ("target", "below", "endpoint"),
    [
        (b"/v1/models", b"/models", "models"),
        (b"/models", b"/models", "models"),
        (b"/v1/v1/v1/models?x=1", b"/models?x=1", "models"),
        (b"/v1/chat/completions/", b"/chat/completions/", "chat/completions"),
        (b"/v1/files/file-1/content", b"/files/file-1/content", "files/{id}/content"),
        (b"/v1/files/a%2Fb", b"/files/a%2Fb", "files/{id}"),
        (b"/v1/files/%252e%252e", b"/files/%252e%252e", "files/{id}"),
        (b"/v1/unheard-of/x", b"/unheard-of/x", "other"),
        (b"/v1/files?a=//../%2e", b"/files?a=//../%2e", "files"),
        (b"/v1/files/...", b"/files/...", "files/{id}"),
        (b"/v1/files/\xff", b"/files/\xff", "files/{id}"),
    ],
)
def test_target_of_the_api(target, below, endpoint):
    """The rest stays byte for byte; the name for labels is bounded."""
    path = map_target(target)
    assert (path.target, path.endpoint) == (below, endpoint)
    assert path.path == below.partition(b"?")[0]


@pytest.mark.parametrize(
    "target", [b"/", b"/v1", b"/v1/", b"/v1/v1", b"/nope", b"/v1x/models", b"/V1/models", b"/health2"]
)
def test_target_outside_the_api(target):
    """What the API does not have is nobody's to forward."""
    with pytest.raises(UnknownURL):
        map_target(target)


@pytest.mark.parametrize(
    "target",
    [
        b"/v1/..", b"/v1/../x", b"/v1/./x", b"/v1//x", b"//v1/x", b"/v1/%2e%2e/x", b"/v1/.%2E/x", b"/v1/a%2f..",
        b"/v1/a\\b", b"/v1/a%5cb", b"/v1/a%00", b"/v1/x#f", b"/v1/a%2f%2fb", b"/models//",
    ],
)  # fmt: skip
def test_target_that_could_leave_the_base_url(target):
    """Dots, empty segments and backslashes, plain or encoded."""
    with pytest.raises(MalformedRequest):
        map_target(target)


def test_methods_and_members_of_checked_paths():
    """The three endpoints with rules of their own; all others take every method of the API."""
    chat = map_target(b"/v1/chat/completions")
    assert chat.required == ("model", "messages")
    assert chat.methods == (b"GET", b"HEAD", b"POST", b"OPTIONS")
    assert map_target(b"/embeddings").required == ("model", "input")
    assert map_target(b"/v1/completions").methods == (b"POST", b"OPTIONS")
    other = map_target(b"/v1/responses")
    assert (other.methods, other.required) == (API_METHODS, ())


def test_escaped_letters_change_nothing():
    """What the upstream unescapes was counted as another endpoint: no limit of tokens, no check of the body."""
    path = map_target(b"/v1/%63hat/c%6Fmpletions?a=%41")
    assert path.target == b"/%63hat/c%6Fmpletions?a=%41"
    plain = map_target(b"/v1/chat/completions")
    assert (path.endpoint, path.methods, path.required) == (plain.endpoint, plain.methods, plain.required)
    assert map_target(b"/%65mbeddings").endpoint == "embeddings"
    assert map_target(b"/v1/chat%2Fcompletions").endpoint == "other"
    assert map_target(b"/v1/fine%5Ftuning/jobs").endpoint == "fine_tuning/jobs"


def test_absolute_form_of_this_proxy_is_served():
    """RFC 9112 §3.2.2: the form that proxies are asked with."""
    assert origin_form(b"http://LOCALHOST:8080/v1/x?y", OURS) == b"/v1/x?y"
    assert origin_form(b"http://127.0.0.1:8080", OURS) == b"/"
    assert origin_form(b"http://127.0.0.1:8080?x", OURS) == b"/?x"
    assert origin_form(b"/v1/x", OURS) == b"/v1/x"


@pytest.mark.parametrize(
    "target", [b"http://evil.test/v1/x", b"https://localhost/", b"http://a@localhost:8080/", b"http:///x"]
)
def test_absolute_form_of_another_origin_is_misdirected(target):
    """The client never chooses where requests go."""
    with pytest.raises(MisdirectedRequest):
        origin_form(target, OURS)


@pytest.mark.parametrize("target", [b"evil.test:80", b"@evil.test", b"v1/models", b"ftp://a/b", b"", b"?x"])
def test_other_forms_are_malformed(target):
    """Neither origin-form nor absolute-form."""
    with pytest.raises(MalformedRequest):
        origin_form(target, OURS)


def test_asterisk_is_unknown():
    """OPTIONS * asks about a server that is not the API's."""
    with pytest.raises(UnknownURL):
        origin_form(b"*", OURS)


@given(
    st.lists(st.sampled_from([b"/", b".", b"..", b"%2e", b"%2F", b"v1", b"files", b"\\", b"%5C", b"a", b"?"]))
)
def test_no_target_leaves_the_base_url(parts):
    """Whatever passes has no segment that a server could take for a way out."""
    try:
        path = map_target(b"/" + b"".join(parts))
    except ProxyError:
        return
    decoded = path.path.replace(b"%2e", b".").replace(b"%2F", b"/").replace(b"%5C", b"\\")
    segments = decoded.split(b"/")[1:]
    assert not {b".", b".."} & set(segments)
    assert b"" not in segments[:-1]
    assert b"\\" not in decoded

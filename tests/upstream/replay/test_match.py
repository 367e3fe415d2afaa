"""What counts as the same request as a recorded one."""

import base64

import pytest
from upstream.replay.recordings import IGNORED, line

from openai_proxy.upstream.replay.match import (
    asked_for_bytes,
    asked_for_json,
    asked_of_line,
    first_difference,
)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("POST", "/a", {"x": 1, "y": [2]}), ("POST", "/a", {"y": [2], "x": 1}), True),
        (("POST", "/a", {"x": 1, "user": "me"}), ("POST", "/a", {"x": 1, "user": "you"}), True),
        (("POST", "/a?b=1&c=2", {}), ("POST", "/a?c=2&b=1", {}), True),
        (("POST", "/a/", {}), ("POST", "/a", {}), True),
        (("POST", "/a", {"x": 1}), ("POST", "/a", {"x": 2}), False),
        (("POST", "/a", {"x": {"user": 1}}), ("POST", "/a", {"x": {"user": 2}}), False),
        (("POST", "/a", {}), ("PUT", "/a", {}), False),
        (("POST", "/a?b=1", {}), ("POST", "/a", {}), False),
        (("POST", "/a", {"x": "\ud800"}), ("POST", "/a", {"x": "\ud800"}), True),
    ],
)
def test_json_counts_as_values(one, other, same):
    """Not by its bytes; what is ignored is ignored at the top only."""
    assert (asked_for_json(*one, IGNORED).key == asked_for_json(*other, IGNORED).key) is same


def form(boundary, part):
    return b'--%b\r\nContent-Disposition: form-data; name="a"\r\n\r\n%b\r\n--%b--\r\n' % (
        boundary,
        part,
        boundary,
    )


def test_forms_count_by_their_parts():
    """The boundary is another one each time."""

    def asked(boundary, part):
        kinds = [b"multipart/form-data; boundary=" + boundary]
        return asked_for_bytes("POST", "/files", form(boundary, part), kinds).key

    assert asked(b"one", b"x") == asked(b"two", b"x")
    assert asked(b"one", b"x") != asked(b"one", b"y")
    assert asked_for_bytes("POST", "/a", b"x", ()).key != asked_for_bytes("POST", "/a", b"y", ()).key


def test_a_line_is_what_was_asked():
    """With its target if there is one, else by its path."""
    body = {"model": "m", "user": "me"}
    found = asked_of_line(line(body), IGNORED)
    assert found.key == asked_for_json("POST", "/chat/completions", {"model": "m"}, IGNORED).key
    request = {"target": "/files?limit=2", "method": "GET", "body": None}
    assert (
        asked_of_line(line(request=request), IGNORED).key
        == asked_for_bytes("GET", "/files?limit=2", b"", ()).key
    )
    data = form(b"b", b"x")
    opaque = {"bytes": len(data), "sha256": "0", "base64": base64.b64encode(data).decode()}
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    found = asked_of_line(line(opaque, request={"headers": headers}), IGNORED)
    kinds = [b"multipart/form-data; boundary=c"]
    assert found.key == asked_for_bytes("POST", "/chat/completions", form(b"c", b"x"), kinds).key


@pytest.mark.parametrize(
    "body",
    [{"bytes": 9, "sha256": "0", "truncated": True}, {"bytes": 9, "sha256": "0", "base64": "?"}],
)
def test_a_request_that_is_not_whole_is_none(body):
    """Nothing could be compared."""
    with pytest.raises(ValueError, match="the body of its request"):
        asked_of_line(line(body), IGNORED)


@pytest.mark.parametrize(
    ("recorded", "asked", "path"),
    [
        ({"a": 1}, {"a": 1}, ""),
        ({"a": 1}, {"a": 2}, "a"),
        ({"a": 1}, {"b": 1}, "a"),
        ({"a": [{"b": 1}, {"b": 2}]}, {"a": [{"b": 1}, {"b": 3}]}, "a[1].b"),
        ({"a": [1]}, {"a": [1, 2]}, "a[1]"),
        ({"a b c": 1}, {}, "(a member)"),
        (None, {"a": 1}, ""),
    ],
)
def test_the_first_difference_is_named_without_values(recorded, asked, path):
    """Names only."""
    assert first_difference(recorded, asked) == path

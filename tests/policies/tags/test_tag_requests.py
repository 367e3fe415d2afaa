"""Tags from headers, fixed tags of keys, and end users."""

import fakes
import pytest

from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.policies.tags.rules import LONGEST_VALUE, OTHER, TagValues, end_user_name, tag_value
from openai_proxy.policies.tags.tag_requests import NameEndUser, TagRequests


def through(stage, headers=(), key="alice", document=None):
    """Return the exchange, and the headers that go on."""
    exchange = fakes.exchange(credential_id=key)
    request = ProxyRequest(b"POST", b"/x", list(headers), None, exchange, document=document)
    seen = []
    stage(request, lambda request: seen.append(request.headers))
    return exchange, seen[0]


HEADERS = {b"x-team": "team", b"x-cost-centre": "centre"}
SENT = [(b"Accept", b"*/*"), (b"X-Team", b" red "), (b"x-cost-centre", b"7"), (b"X-Team-2", b"no")]


def test_headers_become_tags_and_go_no_further():
    """In any case; others stay as they are."""
    exchange, headers = through(TagRequests(HEADERS, {}, TagValues()), SENT)
    assert exchange.tags == (("centre", "7"), ("team", "red"))
    assert headers == [SENT[0], SENT[3]]


def test_headers_may_pass():
    """An upstream may have a use for them."""
    exchange, headers = through(TagRequests(HEADERS, {}, TagValues(), removes=False), SENT)
    assert exchange.tags == (("centre", "7"), ("team", "red"))
    assert headers == SENT


def test_a_tag_of_the_key_goes_before_what_its_client_says():
    """The operator set it."""
    stage = TagRequests(HEADERS, {"alice": [("team", "blue"), ("stage", "prod")]}, TagValues())
    assert through(stage, SENT)[0].tags == (("centre", "7"), ("stage", "prod"), ("team", "blue"))
    assert through(stage, SENT, key="bob")[0].tags == (("centre", "7"), ("team", "red"))
    assert through(stage, [], key="bob")[0].tags == ()


def test_values_are_bounded_for_each_tag():
    """A client that makes them up fills no table."""
    values = TagValues(2)
    assert [values.of("team", value) for value in ("a", "b", "c", "a")] == ["a", "b", OTHER, "a"]
    assert values.of("stage", "c") == "c"


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        (b"", None),
        (b"  ", None),
        (b"caf\xc3\xa9", "caf\u00e9"),
        (b"\xff", "\ufffd"),
        (b"a\x1b[2Jb", "a?[2Jb"),
        (b"x" * 500, "x" * LONGEST_VALUE),
        (b"sk-proxy-abcdefghijkl", "[redacted]"),
    ],
)
def test_what_a_value_may_look_like(value, tag):
    """It stands in logs, metrics and pages."""
    assert tag_value(value) == tag


def test_the_end_user_of_a_body():
    """The newer name first; a hash shows that it is the same user, and not who it is."""
    plain, hashed = NameEndUser(hashed=False), NameEndUser(hashed=True)
    body = {"user": "bob", "safety_identifier": "b-1"}
    assert through(plain, document=body)[0].end_user == "b-1"
    assert through(plain, document={"user": "bob"})[0].end_user == "bob"
    name = through(hashed, document={"user": "bob"})[0].end_user
    assert name == through(hashed, document={"user": "bob"})[0].end_user != "bob"
    assert name.startswith("user-")
    assert len(name) == 21
    for document in (None, {}, {"user": 3}, {"user": ""}):
        assert through(plain, document=document)[0].end_user is None


def test_an_end_user_is_one_short_word_of_a_log():
    """Whoever chooses it."""
    assert end_user_name("a\nb" + "x" * 500, hashed=False) == "a?b" + "x" * 197
    assert end_user_name("sk-proxy-abcdefghijkl", hashed=False) == "[redacted]"
    assert end_user_name("\ud800", hashed=True).startswith("user-")

"""The environment of a program that uses the proxy."""

import pytest

from openai_proxy.command.child import PLACEHOLDER, environment
from openai_proxy.daemon.notes import client_base_url

URL = "http://127.0.0.1:8080/v1"


@pytest.mark.parametrize(
    ("addresses", "url"),
    [
        (["http://127.0.0.1:8080"], URL),
        (["http://0.0.0.0:8080"], URL),
        (["unix:/run/p.sock", "https://[::]:1"], "https://[::1]:1/v1"),
        (["http://10.0.0.1:80", "http://127.0.0.1:8080"], "http://10.0.0.1:80/v1"),
        (["unix:/run/p.sock"], None),
        ([], None),
    ],
)
def test_the_base_url_is_one_that_can_be_reached(addresses, url):
    """Nobody can connect to 0.0.0.0, on some systems."""
    assert client_base_url(addresses) == url


@pytest.mark.parametrize(
    ("own", "has_key", "needs_key", "key"),
    [
        ({"OPENAI_API_KEY": "real"}, True, True, PLACEHOLDER),
        ({"OPENAI_API_KEY": "mine"}, False, True, "mine"),
        ({"OPENAI_API_KEY": "mine"}, False, False, "mine"),
        ({}, False, False, PLACEHOLDER),
        ({}, False, True, None),
    ],
)
def test_the_childs_key(own, has_key, needs_key, key):
    """The real key stays with the proxy; an SDK that needs any gets some; a wrong one is never made up."""
    made = environment({"A": "b", **own}, URL, has_key=has_key, needs_key=needs_key)
    assert made.get("OPENAI_API_KEY") == key
    assert (made["OPENAI_BASE_URL"], made["OPENAI_API_BASE"], made["A"]) == (URL, URL, "b")


def test_the_file_of_the_real_key_is_not_named():
    """The child cannot find it by the variable either."""
    own = {"OPENAI_API_KEY_FILE": "/run/secrets/key"}
    assert "OPENAI_API_KEY_FILE" not in environment(own, URL, has_key=True, needs_key=True)


def test_a_web_proxy_is_not_asked_for_loopback():
    """SDKs would send what is meant for this machine to the company's proxy."""
    own = {"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "intranet"}
    made = environment(own, URL, has_key=True, needs_key=True)
    assert (made["NO_PROXY"], made["no_proxy"]) == ("intranet,127.0.0.1", "127.0.0.1")
    assert "NO_PROXY" not in environment({}, URL, has_key=True, needs_key=True)

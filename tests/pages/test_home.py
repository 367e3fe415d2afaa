"""The page at `/` as browsers show it, and the document that programs get there."""

import json
import re

import pytest
from fakes import Downstream
from twisted.internet.defer import succeed

from openai_proxy.pages.home import HomePage, StylePage, base_url, wants_html

INFORMATION = {
    "service": "openai-proxy",
    "version": "1.2",
    "api": "/v1",
    "health": "/health",
    "mode": "tenants",
}
BROWSER = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def ask(
    *lines,
    health=(True, {"upstream": {"url": "https://up.example/v1"}}),
    host="proxy:8080",
    details=True,
    pages=("health", "usage"),
    target="/",
):
    """Return status, headers by lower-case name and body of one request."""
    edge = Downstream()
    home = HomePage(
        lambda: (200, INFORMATION),
        lambda request: details,
        ("service", "api", "health"),
        lambda: succeed(health),
        lambda: list(pages),
    )
    edge.site.root.putChild(b"", home)
    edge.site.root.putChild(b"style.css", StylePage())
    status, headers, body = edge.ask(target, *lines, host=host)
    return status, headers, body.decode()


@pytest.mark.parametrize(
    "lines", [[], ["Accept: */*"], ["Accept: application/json"], ["Accept: text/html;q=0"]]
)
def test_programs_get_the_document(lines):
    """curl, SDKs and balancers see what they always saw."""
    status, headers, body = ask(*lines)
    assert (status, json.loads(body)) == (200, INFORMATION)
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"vary"] == b"Accept"


def test_a_browser_gets_a_page():
    """With the base URL filled in, the mode's key, the state of the upstream and links."""
    status, headers, body = ask(BROWSER)
    assert status == 200
    assert headers[b"content-type"] == b"text/html; charset=utf-8"
    assert headers[b"cache-control"] == b"no-store"
    assert "export OPENAI_BASE_URL=http://proxy:8080/v1" in body
    assert "the key you were given for this proxy" in body
    assert "https://up.example/v1" in body
    assert "can be reached" in body
    assert re.findall(r'<a href="([^"]+)"', body) == ["/health", "/admin/usage"]


def test_nothing_comes_from_elsewhere_or_stands_inside():
    """The policy forbids it, and the page needs none of it."""
    _, headers, body = ask(BROWSER)
    assert headers[b"content-security-policy"].startswith(
        b"default-src 'none'; script-src 'self'; style-src 'self'"
    )
    assert headers[b"x-frame-options"] == b"DENY"
    assert not re.search(r"<script|<style|style=|\bon[a-z]+=|https?://(?!proxy:8080|up\.example)", body)
    status, headers, _ = ask(target="/style.css")
    assert (status, headers[b"content-type"]) == (200, b"text/css; charset=utf-8")


def test_the_reason_of_an_upstream_that_is_away():
    """Whoever looks learns why, as text."""
    reason = {"upstream": {"url": "http://up/v1", "reason": "<b>refused</b>"}}
    _, _, body = ask(BROWSER, health=(False, reason))
    assert "cannot be reached: &lt;b&gt;refused&lt;/b&gt;" in body


def test_strangers_see_no_details():
    """`access.pages` holds for the page as for the document."""
    _, _, body = ask(BROWSER, details=False)
    assert "up.example" not in body
    assert "tenants" not in body
    assert "1.2" not in body


@pytest.mark.parametrize(
    ("host", "secure", "expected"),
    [
        (b"p", False, "http://p/v1"),
        (b"[::1]:8443", True, "https://[::1]:8443/v1"),
        (b"a b", False, "http://127.0.0.1:8080/v1"),
        (b'"><script>', False, "http://127.0.0.1:8080/v1"),
        (None, True, "http://127.0.0.1:8080/v1"),
    ],
)
def test_the_base_url_is_where_the_client_came_to(host, secure, expected):
    """A Host that is none goes nowhere."""
    assert base_url(host, secure) == expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (b"text/html", True),
        (b"TEXT/HTML; q=0.5", True),
        (b"application/json, text/html", True),
        (b"application/xhtml+xml", True),
        (b"text/html;q=0.0", False),
        (b"text/htmlx", False),
        (b"text/*", False),
        (b"", False),
    ],
)
def test_html_is_for_those_who_name_it(accept, expected):
    """`*/*` is what programs send."""
    assert wants_html(accept) is expected

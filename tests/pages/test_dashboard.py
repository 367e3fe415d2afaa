"""The dashboard's files, over a whole downstream edge in memory."""

import re

import pytest
from fakes import LOCAL, Downstream

from openai_proxy.pages.admin import Gate
from openai_proxy.pages.dashboard.page import DashboardPage

POLICY = b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:"


def ask(target, *lines, token=None, on=True):
    """Return status, headers and body of a response."""
    edge = Downstream()
    edge.site.root.putChild(
        b"dashboard", DashboardPage(Gate(lambda: token), lambda: object() if on else None)
    )
    status, headers, body = edge.ask(target, *lines, host="127.0.0.1", peer=LOCAL)
    return status, headers, body.decode()


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("/dashboard", "text/html"),
        ("/dashboard/", "text/html"),
        ("/dashboard/app.js", "text/javascript"),
        ("/dashboard/app.css", "text/css"),
    ],
)
def test_files_are_there_and_bound_to_this_origin(target, kind):
    """Nobody keeps them, frames them, or lets them load anything from elsewhere."""
    status, headers, _ = ask(target)
    assert status == 200
    assert (
        headers.items()
        >= {
            b"content-type": f"{kind}; charset=utf-8".encode(),
            b"content-security-policy": POLICY,
            b"x-frame-options": b"DENY",
            b"cache-control": b"no-store",
        }.items()
    )


def test_nothing_else_is_there():
    """No path leads to another file."""
    for target in (
        "/dashboard/page.py",
        "/dashboard/app.js/x",
        "/dashboard/index.html",
        "/dashboard/__init__.py",
    ):
        assert ask(target)[0] == 404
    assert ask("/dashboard", on=False)[0] == 404


def test_each_file_needs_the_token_and_this_origin():
    """A browser is asked for the token."""
    for target in ("/dashboard", "/dashboard/app.js"):
        status, headers, _ = ask(target, token=b"secret")
        assert status == 401
        assert headers[b"www-authenticate"].startswith(b"Basic")
        assert ask(target, "Authorization: Bearer secret", token=b"secret")[0] == 200
        assert ask(target, "Origin: http://evil.test")[0] == 403


def test_the_policy_is_kept_by_the_page_itself():
    """No inline script or style, no address of another host, no HTML made of text; without JavaScript it says so."""
    page, script = ask("/dashboard")[2], ask("/dashboard/app.js")[2]
    assert re.findall(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", page) == []
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", page + script) == []
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script) == []
    assert "<noscript>" in page

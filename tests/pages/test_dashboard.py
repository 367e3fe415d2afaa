"""The dashboard's files, over a whole downstream edge in memory."""

import re

import pytest
from fakes import Downstream
from twisted.internet.address import IPv4Address

from openai_proxy.pages.admin import Gate
from openai_proxy.pages.dashboard.page import DashboardPage


def ask(target, *headers, token=None, on=True):
    """Return status, head and body of an answer."""
    edge = Downstream()
    edge.site.root.putChild(
        b"dashboard", DashboardPage(Gate(lambda: token), lambda: object() if on else None)
    )
    connection = edge.connect()
    connection.transport.peerAddr = IPv4Address("TCP", "127.0.0.1", 5000)
    answer = connection.send(
        "\r\n".join([f"GET {target} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]).encode()
    )
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode(), body.decode()


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
    status, head, _ = ask(target)
    assert status == 200
    for line in (
        f"Content-Type: {kind}; charset=utf-8",
        "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:",
        "X-Frame-Options: DENY",
        "Cache-Control: no-store",
    ):
        assert line in head


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
        status, head, _ = ask(target, token=b"secret")
        assert status == 401
        assert "www-authenticate: Basic" in head
        assert ask(target, "Authorization: Bearer secret", token=b"secret")[0] == 200
        assert ask(target, "Origin: http://evil.test")[0] == 403


def test_the_policy_is_kept_by_the_page_itself():
    """No inline script or style, no address of another host, no HTML made of text; without JavaScript it says so."""
    page, script = ask("/dashboard")[2], ask("/dashboard/app.js")[2]
    assert re.findall(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", page) == []
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", page + script) == []
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script) == []
    assert "<noscript>" in page

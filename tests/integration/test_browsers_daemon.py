"""Browsers that use a real daemon: preflights, foreign pages, DNS rebinding."""

import pytest
from world.client import ask
from world.daemon import Daemon, configured
from world.scripts import answer
from world.upstream import Upstream
from world.world import serving

KEY = "sk-upstream-of-the-browser-test"
ORIGIN = "Origin: http://app.test"
ASKS = "Access-Control-Request-Method: POST"
TWO = """
[upstream]
api_key = "sk-default"
auth_header = "x-own-key"
[[upstreams]]
name = "first"
base_url = "{url}"
api_key = "{key}"
[[keys]]
name = "a"
key = "sk-client-0123456789"
"""


def raw(method, *lines, path="/v1/chat/completions", host="localhost"):
    body = '{"model":"m","messages":[]}' if method == "POST" else ""
    framing = [f"Content-Length: {len(body)}", "Content-Type: text/plain"] if body else []
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *lines, *framing, "", body]).encode()


@pytest.fixture(scope="module")
def inject(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("inject"), env={"OPENAI_API_KEY": KEY}) as world:
        yield world


@pytest.mark.parametrize(
    ("lines", "host"),
    [
        ([ORIGIN], "localhost"),
        (["Origin: null"], "localhost"),
        (["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"], "localhost"),
        (["Sec-Fetch-Site: same-origin"], "evil.example"),
        (["Origin: http://evil.example"], "evil.example"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET", "OPTIONS"])
def test_no_page_spends_the_key(inject, method, lines, host):
    """On loopback too: another origin, a request without CORS, a name that was pointed at this machine."""
    inject.upstream.begin(answer())
    got = ask(inject.port, raw(method, *lines, ASKS, host=host))
    assert (got.status, b"cors.origins" in got.body) == (403, True)
    assert inject.upstream.calls == []


def test_programs_and_own_pages_call(inject):
    """A program sends none of these headers; a page of this address may call."""
    inject.upstream.begin(answer())
    own = f"Origin: http://localhost:{inject.port}"
    assert ask(inject.port, raw("POST", host="evil.example")).status == 200
    assert ask(inject.port, raw("POST", own, host=f"localhost:{inject.port}")).status == 200


def test_a_preflight_carries_no_key_upstream(tmp_path):
    """Not the default one, not that of one of several upstreams, not by its own header."""
    upstream = Upstream()
    try:
        upstream.begin(answer())
        daemon = Daemon(tmp_path, upstream.url, **configured(tmp_path, TWO.format(url=upstream.url, key=KEY)))
        asked = ask(daemon.port, raw("OPTIONS", ORIGIN, ASKS, "Authorization: Bearer sk-mine"))
        daemon.stop()
    finally:
        upstream.close()
    assert asked.status == 200
    heads = [call.head for call in upstream.calls if call.method == b"OPTIONS"]
    assert len(heads) == 1
    assert b"sk-" not in heads[0]

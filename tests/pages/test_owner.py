"""`/key` over a whole downstream edge in memory."""

import json

import pytest
from fakes import Downstream

from openai_proxy.exchange.access_errors import InvalidKey
from openai_proxy.pages.owner import HTML, SCRIPT, OwnerPage


class World:
    def __init__(self, is_there=True):
        self.edge, self.asked = Downstream(), []
        self.edge.site.root.putChild(b"key", OwnerPage(self, lambda: is_there))

    async def answer(self, headers, client_address, days):
        self.asked.append((dict(headers).get(b"authorization"), days))
        if self.asked[-1][0] is None:
            raise InvalidKey
        return {"name": "alice"}

    def get(self, target, *headers, method="GET"):
        lines = [f"{method} {target} HTTP/1.1", "Host: proxy.test", *headers, "", ""]
        head, _, body = self.edge.connect().send("\r\n".join(lines).encode()).partition(b"\r\n\r\n")
        return int(head.split()[1]), head, body


def test_programs_get_json_that_nobody_keeps():
    """Thirty days, unless asked otherwise."""
    world = World()
    status, head, body = world.get("/key", "authorization: Bearer a")
    assert (status, json.loads(body)) == (200, {"name": "alice"})
    assert b"Cache-Control: no-store" in head
    world.get("/key?days=92", "authorization: Bearer a", "Accept: text/html")
    assert world.asked == [(b"Bearer a", 30), (b"Bearer a", 92)]


@pytest.mark.parametrize("days", ["0", "93", "-1", "x", "", "1.5", "1000", "%D9%A3"])
def test_other_days_are_refused(days):
    """Before anybody is asked."""
    world = World()
    status, _, body = world.get(f"/key?days={days}", "authorization: Bearer a")
    error = json.loads(body)["error"]
    assert (status, error["code"], error["param"]) == (400, "invalid_value", "days")
    assert world.asked == []


def test_a_browser_gets_a_page_without_anything_of_anybody():
    """Its script asks with the key in a header; the policy lets it run nothing else and ask nobody else."""
    world = World()
    status, head, body = world.get("/key", "Accept: text/html,*/*;q=0.8")
    assert (status, body) == (200, HTML)
    assert b"Content-Security-Policy: default-src 'none'; script-src 'self'" in head
    assert b"X-Frame-Options: DENY" in head
    assert b"no-store" in head
    assert world.asked == []
    assert world.get("/key/app.js")[::2] == (200, SCRIPT)
    assert world.get("/key/style.css")[0] == 200


def test_the_script_puts_text_into_the_page_as_text():
    """A name or a model may look like HTML; a key must not get into a URL, nor stay in the browser."""
    for forbidden in (
        b"innerHTML",
        b"outerHTML",
        b"insertAdjacent",
        b"document.write",
        b"eval",
        b"localStorage",
    ):
        assert forbidden not in SCRIPT
    assert b'"Bearer " + byId("key")' in SCRIPT
    assert b'name="key"' not in HTML


def test_there_is_no_page_without_client_keys():
    """Elsewhere the path is nobody's."""
    world = World(is_there=False)
    for path in ("/key", "/key/app.js"):
        assert world.get(path)[0] == 404
    there = World()
    assert there.get("/key/x")[0] == 404
    assert there.get("/key", method="POST")[0] == 405

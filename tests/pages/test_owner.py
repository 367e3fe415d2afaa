"""`/key` over a whole downstream edge in memory."""

import json

import pytest
from fakes import Downstream

from openai_proxy.exchange.access_errors import InvalidKey
from openai_proxy.pages.owner import HTML, SCRIPT, OwnerPage


class Reports(Downstream):
    """An edge with the page, and the reports that it asks for."""

    def __init__(self, is_there=True):
        super().__init__()
        self.asked = []
        self.site.root.putChild(b"key", OwnerPage(self, lambda: is_there))

    async def answer(self, headers, client_address, days):
        self.asked.append((dict(headers).get(b"authorization"), days))
        if self.asked[-1][0] is None:
            raise InvalidKey
        return {"name": "alice"}


def test_programs_get_json_that_nobody_keeps():
    """Thirty days, unless asked otherwise."""
    reports = Reports()
    status, headers, body = reports.ask("/key", "authorization: Bearer a")
    assert (status, json.loads(body)) == (200, {"name": "alice"})
    assert headers[b"cache-control"] == b"no-store"
    reports.ask("/key?days=92", "authorization: Bearer a", "Accept: text/html")
    assert reports.asked == [(b"Bearer a", 30), (b"Bearer a", 92)]


@pytest.mark.parametrize("days", ["0", "93", "-1", "x", "", "1.5", "1000", "%D9%A3"])
def test_other_days_are_refused(days):
    """Before anybody is asked."""
    reports = Reports()
    status, _, body = reports.ask(f"/key?days={days}", "authorization: Bearer a")
    error = json.loads(body)["error"]
    assert (status, error["code"], error["param"]) == (400, "invalid_value", "days")
    assert reports.asked == []


def test_a_browser_gets_a_page_without_anything_of_anybody():
    """Its script asks with the key in a header; the policy lets it run nothing else and ask nobody else."""
    reports = Reports()
    status, headers, body = reports.ask("/key", "Accept: text/html,*/*;q=0.8")
    assert (status, body) == (200, HTML)
    assert headers[b"content-security-policy"].startswith(b"default-src 'none'; script-src 'self'")
    assert headers[b"x-frame-options"] == b"DENY"
    assert headers[b"cache-control"] == b"no-store"
    assert reports.asked == []
    assert reports.ask("/key/app.js")[::2] == (200, SCRIPT)
    assert reports.ask("/key/style.css")[0] == 200


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
    reports = Reports(is_there=False)
    for path in ("/key", "/key/app.js"):
        assert reports.ask(path)[0] == 404
    there = Reports()
    assert there.ask("/key/x")[0] == 404
    assert there.ask("/key", method="POST")[0] == 405

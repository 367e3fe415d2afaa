"""Who may see the operator's pages, over a whole downstream edge in memory."""

import json

import pytest
from fakes import LOCAL, Downstream
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed

from openai_proxy.exchange.page_errors import InvalidValue
from openai_proxy.pages.admin import AdminPage, AdminPages, Gate


class Totals(Downstream):
    """An edge with one of the operator's pages, and what it asks for."""

    def __init__(self, token=None, answer=None, unix_is_local=False):
        super().__init__()
        self.asked = []
        self.answer = answer or succeed(("text/plain", b"totals"))
        admin = AdminPages()
        admin.putChild(b"usage", AdminPage(Gate(lambda: token, unix_is_local), self._answer))
        self.site.root.putChild(b"admin", admin)

    def _answer(self, arguments):
        self.asked.append(arguments)
        return self.answer

    def get(self, *lines, peer=LOCAL, target="/admin/usage", **how):
        """Return status and body."""
        return self.ask(target, *lines, peer=peer, **how)[::2]


def code(body):
    return json.loads(body)["error"]["code"]


@pytest.mark.parametrize(
    ("headers", "status", "error"),
    [
        (["Authorization: Bearer secret"], 200, None),
        (["Authorization: bearer  secret "], 200, None),
        (["Authorization: Bearer secre"], 401, "invalid_api_key"),
        (["Authorization: Bearer secret2"], 401, "invalid_api_key"),
        (["Authorization: Bearer \u00e9"], 401, "invalid_api_key"),
        (["Authorization: Basic secret"], 401, "missing_api_key"),
        (["Authorization: Bearer "], 401, "missing_api_key"),
        (["api-key: secret"], 401, "missing_api_key"),
        ([], 401, "missing_api_key"),
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1"])
def test_with_a_token_only_the_token_opens(headers, status, error, host):
    """From near and far; what is refused says why in OpenAI's shape."""
    totals = Totals(token=b"secret")
    answered, body = totals.get(*headers, peer=IPv4Address("TCP", host, 5000))
    assert answered == status
    assert body == b"totals" if error is None else code(body) == error


@pytest.mark.parametrize(
    "peer",
    [
        LOCAL,
        IPv4Address("TCP", "127.9.9.9", 1),
        IPv6Address("TCP", "::1", 1),
        IPv6Address("TCP", "::ffff:127.0.0.1", 1),
    ],
)
def test_without_a_token_this_machine_may_look(peer):
    """Loopback, in each of its spellings; whatever key is sent along."""
    assert Totals().get("Authorization: Bearer anything", peer=peer) == (200, b"totals")


@pytest.mark.parametrize(
    "peer",
    [
        IPv4Address("TCP", "192.0.2.1", 1),
        IPv6Address("TCP", "2001:db8::1", 1),
        IPv6Address("TCP", "::ffff:192.0.2.1", 1),
        UNIXAddress(None),
        None,
    ],
)
def test_without_a_token_others_may_not(peer):
    """A socket of a web server in front is not this machine's user."""
    status, body = Totals().get(peer=peer)
    assert (status, code(body)) == (403, "not_local")


def test_a_unix_socket_of_admin_port_is_near():
    """Its file's permissions say who may connect."""
    assert Totals(unix_is_local=True).get(peer=UNIXAddress(None))[0] == 200


@pytest.mark.parametrize(
    "header",
    ["X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1", "X-Real-IP: 192.0.2.1", "Via: 1.1 nginx"],
)
def test_what_a_proxy_forwards_is_not_near(header):
    """The web server on this machine speaks for anybody."""
    assert Totals().get(header)[0] == 403


@pytest.mark.parametrize(
    ("host", "status"),
    [("evil.example:8080", 403), ("localhost:8080", 200), ("[::1]:8080", 200), ("127.0.0.1", 200)],
)
def test_a_browser_reads_it_only_under_this_machines_name(host, status):
    """A stranger's page whose name points at this machine must not read the totals."""
    assert Totals().get("Accept-Language: en", host=host)[0] == status


def test_arguments_and_what_is_accepted_reach_the_page():
    """The last of each name counts."""
    totals = Totals()
    totals.get("Accept: text/csv", target="/admin/usage?format=json&from=2026-11-21&format=csv")
    assert totals.asked == [{"format": "csv", "from": "2026-11-21", "accept": "text/csv"}]


def test_there_is_nothing_beside_the_page():
    """/admin and unknown pages are unknown; only reading is possible."""
    totals = Totals()
    for target in ("/admin", "/admin/", "/admin/keys", "/admin/usage/x"):
        status, body = totals.get(target=target)
        assert (status, code(body)) == (404, "unknown_url"), target
    assert totals.get(method="POST")[0] == 405
    assert totals.get(target="/admin/usage/")[0] == 200


def test_an_answer_may_take_its_time_and_its_client_may_leave():
    """A file is asked first."""
    late = Deferred()
    totals = Totals(answer=late)
    waiting, leaving = (totals.request("/admin/usage", peer=LOCAL) for _ in range(2))
    assert waiting.transport.take() == b""
    leaving.lose()
    late.callback(("text/plain", b"late"))
    assert waiting.transport.take().endswith(b"late")


def test_failures_are_answered_in_openais_shape():
    """A bad argument found late is a 400."""
    status, body = Totals(answer=fail(InvalidValue("No.", param="from"))).get()
    assert (status, code(body), json.loads(body)["error"]["param"]) == (400, "invalid_value", "from")

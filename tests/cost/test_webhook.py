"""Alerts reach their URL: signed, repeated, given up with a line in the log."""

import base64

import pytest
from logged import log_lines
from openai import OpenAI
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectError
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from openai_proxy.cost.webhook import MOST_WAITING, WAITS_S, Deliveries, Webhook, signature, signing_key

BODY = b'{"object":"event","id":"evt_1","type":"budget.reached","created_at":1,"data":{}}'
HOOK = Webhook("https://hooks.example/T0/secret-path?token=secret-query", b"key")


class Answer:
    length = 2
    original = None

    def __init__(self, code, body=b"ok"):
        self.code, self._body = code, body

    def deliverBody(self, protocol):
        protocol.dataReceived(self._body)
        protocol.connectionLost(Failure(ResponseDone()))


class Server:
    """Answers posts in turn; what is no status fails."""

    def __init__(self, *codes):
        self.codes = list(codes)
        self.posts = []

    def __call__(self, url, *, data, headers, **options):
        self.posts.append((url, data, headers, options))
        code = self.codes.pop(0) if self.codes else 200
        return succeed(Answer(code)) if isinstance(code, int) else fail(code)


@pytest.fixture
def lines():
    with log_lines("openai_proxy.cost") as found:
        yield found


def delivered(server, seconds=200):
    clock = Clock()
    deliveries = Deliveries(clock, lambda: 1_795_262_400.0, server)
    deliveries.deliver(HOOK, "alice/2026-11/0.8", BODY)
    for _ in range(seconds):
        clock.advance(1)
    assert clock.getDelayedCalls() == []
    return server.posts


def test_an_alert_is_posted_once_and_follows_no_redirect():
    """As JSON, with a time limit."""
    ((url, data, headers, options),) = delivered(Server(200))
    assert (url, data, headers["Content-Type"]) == (HOOK.url, BODY, "application/json")
    assert (options["allow_redirects"], options["timeout"]) == (False, 10.0)


@pytest.mark.parametrize("trouble", [500, 429, 302, ConnectError()])
def test_an_alert_that_is_not_taken_is_posted_again(trouble):
    """With the same id, so that the receiver can tell."""
    posts = delivered(Server(trouble, trouble, 204))
    assert [headers["webhook-id"] for _, _, headers, _ in posts] == ["alice/2026-11/0.8"] * 3


def test_an_alert_is_given_up_with_one_line_that_hides_the_url(lines):
    """Its path and query may be the password of a chat."""
    posts = delivered(Server(*[503] * 9))
    assert len(posts) == 1 + len(WAITS_S)
    assert lines == ["an alert was not delivered to hooks.example: status 503"]


def test_a_url_that_is_gone_is_not_asked_again(lines):
    """410 ends it, as the specification of webhooks says."""
    assert len(delivered(Server(410))) == 1
    assert len(lines) == 1


def test_the_signature_is_that_of_openais_webhooks():
    """The SDK's own check accepts it, and refuses another body."""
    secret = "whsec_" + base64.b64encode(b"0123456789abcdef").decode()
    headers = {
        "webhook-id": "alice/2026-11/0.8",
        "webhook-timestamp": "1795262400",
        "webhook-signature": signature(signing_key(secret), "alice/2026-11/0.8", 1_795_262_400, BODY),
    }
    webhooks = OpenAI(api_key="x", webhook_secret=secret).webhooks
    webhooks.verify_signature(BODY, headers, tolerance=10**10)
    with pytest.raises(ValueError):
        webhooks.verify_signature(BODY + b" ", headers, tolerance=10**10)


def test_a_secret_may_be_any_text_and_bad_base64_is_refused():
    """What begins with whsec_ is base64."""
    assert signing_key("hello") == b"hello"
    with pytest.raises(ValueError):
        signing_key("whsec_!")


def test_the_end_of_the_daemon_does_not_wait_for_deliveries(lines):
    """What waits is given up, which was told nowhere, and nothing is left to run."""
    clock = Clock()
    deliveries = Deliveries(clock, lambda: 0.0, lambda url, **how: fail(ConnectError()))
    deliveries.deliver(HOOK, "x", BODY)
    ended = []
    deliveries.stop().addCallback(ended.append)
    assert ended
    assert lines == ["an alert was not delivered to hooks.example: this proxy was stopped first"]
    assert clock.getDelayedCalls() == []


def test_deliveries_under_way_are_bounded(lines):
    """A receiver that hangs costs no memory without end."""
    deliveries = Deliveries(Clock(), lambda: 0.0, lambda url, **how: Deferred())
    for _ in range(MOST_WAITING + 3):
        deliveries.deliver(HOOK, "x", BODY)
    assert len(lines) == 3
    deliveries.stop()

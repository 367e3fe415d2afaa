"""Who may read /metrics and the details of / and /health."""

import json

import pytest
from fakes import LOCAL, Downstream
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import succeed

from openai_proxy.pages.admin import Gate, PagesGate
from openai_proxy.pages.pages import HealthPage, JSONPage, MetricsPage

STRANGER = IPv4Address("TCP", "203.0.113.9", 5000)
TOKEN = "Authorization: Bearer secret"
TARGETS = ("/metrics", "/health", "/")


def readable(rule, token, *lines, peer=STRANGER):
    """Return which pages tell this client more than everybody may know."""
    edge = Downstream()
    gate = PagesGate(lambda: rule, Gate(lambda: token))
    root = edge.site.root
    root.putChild(b"metrics", MetricsPage(lambda accept: ("text/plain", b"SECRET 1\n"), gate.check))
    health = {"status": "unhealthy", "url": "SECRET"}
    root.putChild(b"health", HealthPage(lambda: succeed((False, health)), gate.allows))
    information = {"service": "openai-proxy", "mode": "SECRET"}
    root.putChild(b"", JSONPage(lambda: (200, information), gate.allows, ("service",)))
    found = []
    for target in TARGETS:
        status, _, body = edge.ask(target, *lines, peer=peer)
        if b"SECRET" in body:
            found.append(target)
        elif target == "/metrics":
            assert json.loads(body)["error"]["code"] in ("not_local", "missing_api_key", "invalid_api_key")
        else:
            assert list(json.loads(body)) == [{"/health": "status", "/": "service"}[target]]
        if target == "/health":
            assert status == 503
    return found


@pytest.mark.parametrize(
    ("rule", "token", "headers", "peer", "allowed"),
    [
        ("auto", None, [], STRANGER, True),
        ("auto", b"secret", [], STRANGER, False),
        ("auto", b"secret", [TOKEN], STRANGER, True),
        ("auto", b"secret", ["Authorization: Bearer wrong"], STRANGER, False),
        ("auto", b"secret", [], LOCAL, True),
        ("auto", b"secret", ["X-Forwarded-For: 127.0.0.1"], LOCAL, False),
        ("auto", b"secret", ["Origin: http://evil.test"], LOCAL, False),
        ("auto", b"secret", [], UNIXAddress(None), False),
        ("loopback", None, [], LOCAL, True),
        ("loopback", None, [], STRANGER, False),
        ("loopback", b"secret", [TOKEN], STRANGER, False),
        ("token", b"secret", [], LOCAL, False),
        ("token", b"secret", [TOKEN], LOCAL, True),
        ("token", None, ["Authorization: Bearer x"], LOCAL, False),
        ("open", b"secret", [], STRANGER, True),
    ],
)
def test_who_reads_what(rule, token, headers, peer, allowed):
    """All three pages alike; the status of /health is for all."""
    assert readable(rule, token, *headers, peer=peer) == (list(TARGETS) if allowed else [])

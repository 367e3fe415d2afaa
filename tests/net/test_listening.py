"""What the log says of a port."""

from logged import log_events
from twisted.internet.address import IPv4Address

from openai_proxy.net.listening import announce


class Port:
    """A port at `host`."""

    factory = None

    def __init__(self, host):
        self.host = host

    def getHost(self):
        return IPv4Address("TCP", self.host, 8080)


def said_of(port, risk):
    """Return the first words of each line that is logged."""
    with log_events() as events:
        announce(port, risk)
    ours = [event for event in events if event.get("log_namespace", "").startswith("openai_proxy")]
    return [event["log_format"].partition(" {address}")[0] for event in ours]


def test_who_waits_for_the_port_has_seen_the_warning():
    """Scripts wait for the line with the address, and then look at the log."""
    assert said_of(Port("0.0.0.0"), "spend the upstream key") == ["warning:", "listening on"]


def test_loopback_and_what_risks_nothing_are_not_warned_of():
    """One line each."""
    assert said_of(Port("127.0.0.1"), "spend the upstream key") == ["listening on"]
    assert said_of(Port("0.0.0.0"), None) == ["listening on"]

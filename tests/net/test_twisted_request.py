"""A Request made late is the Request that twisted.web makes at once."""

from twisted.internet.testing import StringTransport
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from openai_proxy.net.twisted_headers import WireHeaders
from openai_proxy.net.twisted_request import WireRequest


def channel():
    """Return a channel of a site that has nothing."""
    made = HTTPChannel()
    made.site = Site(Resource(), reactor=None)
    made.transport = StringTransport()
    return made


class Got(WireRequest):
    """A GET, with the attributes that a subclass has to set."""

    def __init__(self, channel, target, pairs):
        self.channel, self.site = channel, channel.site
        self.method, self.uri, self.http11 = b"GET", target, True
        self.pairs = pairs


def wire_request(target=b"/", pairs=()):
    return Got(channel(), target, list(pairs))


def test_whatever_twisted_sets_is_there_when_asked_for():
    """A newer Twisted that sets one more attribute is noticed here; values of a kind are equal."""
    stock = vars(Request(channel(), parsePOSTFormSubmission=False))
    ours = wire_request()
    assert {"client", "host", "requestHeaders", "responseHeaders", "notifications", "cookies"} <= set(stock)
    for name, value in stock.items():
        found = getattr(ours, name)
        assert isinstance(found, type(value)), name
        if name not in ("channel", "transport", "requestHeaders"):
            assert (name, found) == (name, value)
        assert getattr(ours, name) is found


def test_nothing_is_made_for_a_request_that_nobody_asks():
    """It is what makes one of the API cheap."""
    made = wire_request()
    late = {
        "client",
        "host",
        "requestHeaders",
        "responseHeaders",
        "notifications",
        "cookies",
        "args",
        "content",
    }
    assert late.isdisjoint(vars(made))


def test_it_reads_what_was_sent():
    """Query, cookies and header lines."""
    made = wire_request(b"/a?q=1&q=%32", [(b"Cookie", b"c=d; e=f"), (b"X", b"y"), (b"x", b"z")])
    assert made.args == {b"q": [b"1", b"2"]}
    assert (made.getCookie(b"e"), made.getCookie(b"g")) == (b"f", None)
    assert (made.getHeader("X"), made.clientproto) == ("z", b"HTTP/1.1")
    assert isinstance(made.requestHeaders, WireHeaders)
    assert made.content.read() == b""

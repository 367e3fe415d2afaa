"""treq's client over our agent, and over treq's own stand-ins."""

import pytest
import treq
from fakes import result_of, results_of
from treq.testing import RequestTraversalAgent, StubTreq
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from upstream.edge import BASE, OK, UpstreamEdge

from openai_proxy.net.origin import Origin
from openai_proxy.upstream.client import UpstreamClient
from openai_proxy.upstream.request_headers import RequestHeaders


class Echo(Resource):
    """Answers with what it was asked."""

    isLeaf = True

    def render(self, request):
        request.setResponseCode(201)
        request.setHeader(b"X-Model", request.getHeader(b"x-model") or b"none")
        return b"%b %b %b" % (request.method, request.uri, request.content.read())


HEADERS = {
    "none": (None, b"none"),
    "twisted.web's": (Headers({b"x-model": [b"m"]}), b"m"),
    "ours": (RequestHeaders([(b"x-Model", b"m"), (b"content-length", b"2")], b"key"), b"m"),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_it_works_on_treqs_stand_in_for_a_server(kind):
    """RequestTraversalAgent joins a client and a Resource in memory; it frames the body itself."""
    headers, model = HEADERS[kind]
    client = UpstreamClient(RequestTraversalAgent(Echo()))
    response = result_of(client.request(b"POST", b"http://up/v1/x%2Fy", headers=headers, data=b"{}"))
    assert (response.code, response.headers.getRawHeaders(b"x-model")) == (201, [model])
    assert result_of(treq.content(response)) == b"POST /v1/x%2Fy {}"


def test_stub_treq_stands_in_for_it():
    """Code that is given a client can be given treq's stub."""
    assert result_of(StubTreq(Echo()).request("POST", "http://up/v1/x", data=b"{}")).code == 201


@pytest.mark.parametrize("data", [None, b"", b"{}"])
@pytest.mark.parametrize("text", [False, True])
def test_treqs_functions_read_our_responses(data, text):
    """Over our own agent; str and bytes are the same."""
    edge = UpstreamEdge()
    method, url = ("POST", BASE.decode()) if text else (b"POST", BASE)
    headers = Headers({b"x-model": [b"m"]})
    results = results_of(edge.client.request(method, url, headers=headers, data=data))
    server = edge.accept()
    framing = b"" if data is None else b"Content-Length: %d\r\n" % len(data)
    assert server.take() == (
        b"POST /v1 HTTP/1.1\r\nHost: 127.0.0.1:9000\r\nX-Model: m\r\n" + framing + b"\r\n" + (data or b"")
    )
    server.say(OK)
    assert (result_of(treq.content(results[0])), results[0].length) == (b"ok", 2)


def test_a_url_without_a_path_asks_for_the_root():
    """As every client does."""
    edge = UpstreamEdge()
    edge.client.request(b"GET", b"http://127.0.0.1:9000")
    assert edge.accept().take() == b"GET / HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n\r\n"


def test_copies_of_request_headers_say_the_same():
    """Agents copy headers before they add their own; ours keep what IAgent has no argument for."""
    origin = Origin(False, "up", 80)
    pairs = [(b"X-a", b"1"), (b"Transfer-Encoding", b"chunked"), (b"content-length", b"1")]
    headers = RequestHeaders(pairs, b"key", True, "ann", origin, True, 1.0)
    copy = headers.copy()
    assert copy.pairs == pairs
    assert copy.pairs is not pairs
    extras = ("credential", "upgrade", "payer", "origin", "fresh", "started")
    assert [getattr(copy, name) for name in extras] == [b"key", True, "ann", origin, True, 1.0]
    assert list(copy.getAllRawHeaders()) == [(b"X-a", [b"1"])]

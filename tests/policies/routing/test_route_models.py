"""Models of several upstreams: aliases, names in paths, and the list of all."""

import json

import pytest
from fakes import Forward, outcome_of, result_of
from policies.routing.routed import REFUSED, Routed, answer
from twisted.internet.defer import CancelledError

from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.exchange.record import Exchange
from openai_proxy.exchange.upstream_errors import UpstreamUnreachable
from openai_proxy.policies.routing.list_models import ListModels
from openai_proxy.policies.routing.table import ModelRoute, Upstream
from openai_proxy.wire.model_list import changed_list


def test_models_are_mapped():
    """A mapped model goes to its upstream under its name there; all other bytes stay."""
    routed = Routed(models=[ModelRoute("fast", "b", "gpt-4o-mini"), ModelRoute("gpt-*", "a")])
    assert routed.ask(document={"model": "fast", "x": 1}, headers=[(b"content-length", b"0")]) == (200, "b")
    request = routed.requests[0]
    assert request.body == b'{"model": "gpt-4o-mini", "x": 1}'
    assert request.document == {"model": "gpt-4o-mini", "x": 1}
    assert (b"content-length", b"%d" % len(request.body)) in request.headers
    assert routed.ask(document={"model": "gpt-9"}) == (200, "a")
    assert routed.requests[0].body == b'{"model": "gpt-9"}'
    routed.answers["b"] = [REFUSED]
    assert routed.ask(document={"model": "fast"}) == (UpstreamUnreachable, "b")


LOOKED_UP = [ModelRoute("fast", "b", "org/mini"), ModelRoute("house-*", "b", "big"), ModelRoute("m", "b")]


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        (b"GET", b"/models/fast", ("b", b"/models/org%2Fmini")),
        (b"HEAD", b"/models/fa%73t?x=1", ("b", b"/models/org%2Fmini?x=1")),
        (b"GET", b"/models/house-1", ("b", b"/models/big")),
        (b"GET", b"/models/m%20", ("a", b"/models/m%20")),
        (b"GET", b"/models/m", ("b", b"/models/m")),
        (b"GET", b"/models/other", ("a", b"/models/other")),
        (b"GET", b"/models", ("a", b"/models")),
        (b"DELETE", b"/models/fast", ("b", b"/models/fast")),
        (b"GET", b"/files/fast", ("a", b"/files/fast")),
    ],
)
def test_a_model_is_looked_up_where_it_is_served(method, target, expected):
    """Under its name there; but nothing is deleted under a name that its client did not say."""
    routed = Routed(models=LOOKED_UP)
    assert routed.ask(method=method, target=target)[0] == 200
    request = routed.requests[0]
    assert expected == (request.route.name, request.target)


def test_a_tenants_own_key_goes_only_where_it_belongs():
    """Before the upstream's key at its origin; another origin's key replaces it."""
    mine = Upstream("mine", "http://a/v1", key=b"sk-a", kept_keys=frozenset([b"client"]))
    other = Upstream("other", "http://b/v1", key=b"sk-b", priority=1)
    routed = Routed([mine, other])
    routed.answers["mine"] = [REFUSED]
    assert routed.ask()[0] == 200
    assert [request.credential for request in routed.requests] == [b"client", b"sk-b"]
    assert [request.headers for request in routed.requests] == [
        [(b"Authorization", b"Bearer client")],
        [(b"Authorization", b"Bearer sk-b")],
    ]


def test_a_client_that_left_while_a_429_was_read_frees_the_connection():
    """Nothing goes on, and nothing stays open."""
    routed = Routed()
    limited = answer(429, None)
    routed.answers["a"] = [limited]
    done = routed.start()
    done.cancel()
    assert isinstance(outcome_of(done), CancelledError)
    assert limited.body.discarded
    assert len(routed.requests) == 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"object":"list","data":[]}', ["fast"]),
        (b'{"data":[{"id":"m"}],"object":"list"}', ["m", "fast"]),
        (b' {"data": [ {"id":"fast"} ] }', ["fast"]),
    ],
)
def test_aliases_stand_beside_the_upstreams_models(body, expected):
    """Clients that list the models find the aliases; a name is listed once."""
    changed = json.loads(changed_list(body, aliases=["fast"]))
    assert expected == [item["id"] for item in changed["data"]]


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"data":1}', b'{"data":[1]}', b'{"data":{}}', b'{"data":""}', b"\xff"]
)
def test_what_is_no_list_passes(body):
    """An answer of another shape stays as it is."""
    assert changed_list(body, aliases=["fast"]) == body


@pytest.mark.parametrize(
    ("method", "target", "status", "filters"),
    [
        (b"GET", b"/models", 200, 1),
        (b"GET", b"/models?x=1", 200, 1),
        (b"GET", b"/models", 401, 0),
        (b"GET", b"/models/m", 200, 0),
        (b"POST", b"/models", 200, 0),
    ],
)
def test_only_the_list_of_models_is_touched(method, target, status, filters):
    """Everything else passes as it came."""
    forward = Forward(answer(status))
    exchange = Exchange(started=0.0, timestamp=0.0, method="GET", path="/v1/models")
    headers = [(b"accept-encoding", b"gzip")]
    endpoint = "models/{id}" if target == b"/models/m" else "models"
    request = ProxyRequest(
        method=method, target=target, headers=headers, body=None, exchange=exchange, endpoint=endpoint
    )
    response = result_of(ListModels(["fast"], None, None)(request, forward))
    assert filters == len(response.filters)
    if filters:
        assert forward.requests[0].headers == [(b"accept-encoding", b"identity")]
        body_filter = response.filters[0]
        assert body_filter.feed(b'{"data":') + body_filter.feed(b"[]}") == b""
        assert b'"fast"' in body_filter.finish()


@pytest.mark.parametrize("body", [None, b"a form", b'{"model":"other"}'])
def test_the_model_of_a_deployment_is_mapped_in_the_path(body):
    """An alias in the path goes where its entry says, under the upstream's name; the body stays as it is."""
    routed = Routed(models=[ModelRoute("house", "b", "org/gpt")])
    document = {"model": "other"} if body and body[:1] == b"{" else None
    asked = {"target": b"/deployments/house/chat/completions?x=1", "path_model": "house", "body": body}
    assert routed.ask(**asked, **({"document": document} if document else {})) == (200, "b")
    (request,) = routed.requests
    assert request.target == b"/deployments/org%2Fgpt/chat/completions?x=1"
    assert request.body in (body, b'{"model": "other"}')

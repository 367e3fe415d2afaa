"""Parameters of the configuration reach the upstream in the request's body."""

import json

import pytest

from openai_proxy.core.exchange import Exchange
from openai_proxy.core.llm_params import from_table, from_text
from openai_proxy.core.request_json import outline
from openai_proxy.messages import ProxyRequest
from openai_proxy.stages.override import Override

RULES = from_text("model=A,temperature=0.5,top_k=40,stop=END,user=;model=S,stream=true")


def make_request(body, headers=(), parsed=True):
    exchange = Exchange(started=0.0, timestamp=0.0, method="POST", path="/v1/chat/completions")
    document = json.loads(body) if parsed else None
    return ProxyRequest(
        method=b"POST",
        target=b"/chat/completions",
        headers=list(headers),
        body=body,
        exchange=exchange,
        document=document,
    )


def test_only_the_members_set_change():
    """The rest of the body, and the other header lines, stay byte for byte."""
    body = b'{ "model" :"A", "x":1.0 , "temperature":2, "messages":[ ] }'
    headers = [(b"X-A", b"1"), (b"content-Length", b"59"), (b"X-B", b"2")]
    request = make_request(body, headers)
    changed = Override(RULES).apply(request)
    assert changed.body == (
        b'{ "model" :"A", "x":1.0 , "temperature":0.5, "messages":[ ],"top_k":40,"stop":"END","user":null }'
    )
    assert changed.headers == [(b"X-A", b"1"), (b"content-Length", b"%d" % len(changed.body)), (b"X-B", b"2")]
    assert changed.document == json.loads(changed.body)
    assert request.document["temperature"] == 2


@pytest.mark.parametrize(
    "body",
    [b'{"model":"a"}', b'{"model":"AA"}', b'{"model":"A "}', b'{"model":""}', b'{"model":["A"]}', b"{}"],
)
def test_other_models_pass_as_they_are(body):
    """A request for no configured model is the same object."""
    request = make_request(body)
    assert Override(RULES).apply(request) is request


def test_bodies_that_are_not_json_pass_as_they_are():
    """Without a decoded document nothing is looked at."""
    request = make_request(b"--b\r\n\r\nA\r\n--b--", parsed=False)
    assert Override(RULES).apply(request) is request


def test_defaults_fill_in_only_what_is_missing():
    """A default never overwrites the client's value, not even null."""
    stage = Override([from_table("g*", {}, {"seed": 7, "n": 2})])
    assert stage.apply(make_request(b'{"model":"g","n":null}')).body == b'{"model":"g","n":null,"seed":7}'
    whole = make_request(b'{"model":"g","n":1,"seed":1}')
    assert stage.apply(whole) is whole


def test_stream_is_recorded():
    """A stream that the configuration turns on counts as one."""
    request = Override(RULES).apply(make_request(b'{"model":"S"}'))
    assert request.exchange.streaming is True


def test_many_models_are_not_remembered_for_ever():
    """Clients can not fill the memory with model names."""
    stage = Override([from_table("g*", {"n": 1})])
    for number in range(2500):
        stage.apply(make_request(b'{"model":"g%d"}' % number))
    assert len(stage._merged) <= 1000
    huge = "x" * 1_000_000
    stage._find(huge)
    assert huge not in stage._merged


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (b'{"model":"m","Temperature":2}', b'{"model":"m","Temperature":0.5,"temperature":0.5}'),
        (
            b'{"model":"m","temperature":1,"TEMPERATURE":2}',
            b'{"model":"m","temperature":0.5,"TEMPERATURE":0.5}',
        ),
        (b'{"Model":"m","temperature":2}', b'{"Model":"m","temperature":0.5}'),
    ],
)
def test_no_spelling_of_a_forced_parameter_keeps_its_value(body, sent):
    """Servers that ignore the case of names would take it."""
    request = make_request(body)
    request.document, request.odd_names = outline(request.document)
    changed = Override(from_text("model=m,temperature=0.5")).apply(request)
    assert changed.body == sent


def test_a_default_gives_way_to_any_spelling():
    """The client has said what it wants."""
    request = make_request(b'{"model":"m","Top_P":1}')
    request.document, request.odd_names = outline(request.document)
    assert Override([from_table("m", {}, {"top_p": 0.5})]).apply(request) is request

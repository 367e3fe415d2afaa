"""Parameters of the configuration reach the upstream in the request's body."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.exchange.record import Exchange
from openai_proxy.policies.override.override import Override
from openai_proxy.policies.override.params import from_table, from_text
from openai_proxy.wire.json_edits import without_members
from openai_proxy.wire.request_json import outline

RULES = from_text("model=A,temperature=0.5,top_k=40,stop=END,user=;model=S,stream=true")


def make_request(body, headers=(), parsed=True, endpoint="chat/completions"):
    exchange = Exchange(started=0.0, timestamp=0.0, method="POST", path="/v1/chat/completions")
    exchange.endpoint = endpoint
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
    """A default never overwrites the client's value; a null is none."""
    stage = Override([from_table("g*", {}, {"seed": 7, "n": 2})])
    assert stage.apply(make_request(b'{"model":"g","n":null}')).body == b'{"model":"g","n":2,"seed":7}'
    whole = make_request(b'{"model":"g","n":1,"seed":1}')
    assert stage.apply(whole) is whole


def test_stream_is_recorded():
    """A stream that the configuration turns on counts as one."""
    request = Override(RULES).apply(make_request(b'{"model":"S"}'))
    assert request.exchange.streaming is True


def test_many_models_are_not_remembered_for_ever():
    """Clients cannot fill the memory with model names."""
    stage = Override([from_table("g*", {"n": 1})])
    for number in range(2500):
        stage.apply(make_request(b'{"model":"g%d"}' % number))
    assert len(stage._changes) <= 1000
    huge = "x" * 1_000_000
    stage._changes.find(huge, "completions")
    assert (huge, "completions") not in stage._changes._kept


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


DEFAULT_LIMIT = [from_table("*", {}, {"max_tokens": 1000})]
FIXED_LIMIT = [from_table("*", {"max_tokens": 9})]


@pytest.mark.parametrize(
    ("endpoint", "body", "limits"),
    [
        ("chat/completions", {}, {"max_tokens": 1000}),
        ("chat/completions", {"max_completion_tokens": 5}, {"max_completion_tokens": 5}),
        ("chat/completions", {"max_tokens": None}, {"max_tokens": 1000}),
        ("completions", {"max_tokens": 5}, {"max_tokens": 5}),
        ("responses", {}, {"max_output_tokens": 1000}),
        ("responses", {"max_output_tokens": 7}, {"max_output_tokens": 7}),
        ("embeddings", {}, {}),
        ("fine_tuning/jobs", {}, {}),
        ("images/generations", {}, {}),
    ],
)
def test_a_default_limit_goes_where_there_is_one_under_its_name(endpoint, body, limits):
    """Embeddings and fine-tuning answered 400, and so did chats with both names."""
    request = make_request(json.dumps({"model": "m", **body}).encode(), endpoint=endpoint)
    sent = json.loads(Override(DEFAULT_LIMIT).apply(request).body)
    assert {name: value for name, value in sent.items() if "token" in name} == limits


@pytest.mark.parametrize(
    ("endpoint", "body", "limits"),
    [
        ("chat/completions", {}, {"max_tokens": 9}),
        ("chat/completions", {"max_tokens": 5000}, {"max_tokens": 9}),
        ("chat/completions", {"max_completion_tokens": 5000}, {"max_completion_tokens": 9}),
        ("chat/completions", {"max_completion_tokens": 5, "max_tokens": 5}, {"max_tokens": 9}),
        (
            "chat/completions",
            {"Max_Completion_Tokens": 5000},
            {"Max_Completion_Tokens": 9, "max_completion_tokens": 9},  # servers that mind the case see it too
        ),
        ("responses", {"max_output_tokens": 5000}, {"max_output_tokens": 9}),
        ("completions", {"max_completion_tokens": 5000}, {"max_tokens": 9}),
    ],
)
def test_a_fixed_limit_holds_whatever_name_the_client_uses(endpoint, body, limits):
    """The other name was a way round it."""
    raw = json.dumps({"model": "m", **body}).encode()
    request = make_request(raw, endpoint=endpoint)
    document, odd = outline(json.loads(raw))
    request.document, request.odd_names = document, odd
    sent = json.loads(Override(FIXED_LIMIT).apply(request).body)
    assert {name: value for name, value in sent.items() if "token" in name.lower()} == limits


def test_tables_merge_and_remove_removes():
    """Other members keep their place and value; so do those inside a table."""
    rules = [
        from_table(
            "qwen",
            {"chat_template_kwargs": {"enable_thinking": False}, "logit_bias": "remove", "top_k": 20},
            {"extra": {"a": 1, "b": {"c": 2}}},
        )
    ]
    body = {
        "model": "qwen",
        "messages": [],
        "logit_bias": {"1": 2},
        "chat_template_kwargs": {"a": 1, "enable_thinking": True},
        "extra": {"b": {"d": 3}, "a": 9},
        "x": 1,
    }
    raw = json.dumps(body).encode()
    request = make_request(raw)
    request.document, request.odd_names = outline(body)
    changed = Override(rules).apply(request)
    assert json.loads(changed.body) == {
        "model": "qwen",
        "messages": [],
        "chat_template_kwargs": {"a": 1, "enable_thinking": False},
        "extra": {"a": 9, "b": {"c": 2, "d": 3}},
        "x": 1,
        "top_k": 20,
    }
    assert "logit_bias" not in changed.document


def test_endpoints_say_where_parameters_go():
    """Then even a parameter that the table does not know goes there, and nowhere else."""
    rules = [from_table("*", {"dimensions": 256, "odd": 1}, endpoints=("embeddings", "images/*"))]
    for endpoint, sent in (("embeddings", True), ("images/generations", True), ("chat/completions", False)):
        request = make_request(b'{"model":"m"}', endpoint=endpoint)
        assert ("odd" in json.loads(Override(rules).apply(request).body)) is sent


@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "C", "d"]), st.integers() | st.text() | st.lists(st.none()), max_size=4
    ),
    st.sets(st.sampled_from(["a", "b", "c", "x"])),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_removing_members_leaves_the_others(document, names, indent, any_case):
    """Whatever the spacing, first, last or all of them."""
    body = json.dumps(document, indent=indent).encode()
    left = {k: v for k, v in document.items() if (k.lower() if any_case else k) not in names}
    assert json.loads(without_members(body, names, any_case)) == left

"""Azure's forms of the API: the name of a deployment is the model for every rule."""

import json

import pytest
from world.client import ask
from world.daemon import configured
from world.requests import post
from world.scripts import COMPLETION, answer, delta, events, stream
from world.upstream import Upstream

from openai_proxy.wire.targets import map_target

KEY = "sk-client-0123456789"
FORMS = (
    "/v1/deployments/{}/chat/completions?api-version=1",
    "/openai/deployments/{}/chat/completions?api-version=1",
    "/v1/engines/{}/chat/completions",
)
BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
"""It names another model than the paths do."""
THOUGHT = {
    **COMPLETION,
    "choices": [{**COMPLETION["choices"][0], "message": {"content": "<think>x</think>fine"}}],
}
DEAR = {
    **COMPLETION,
    "usage": {"prompt_tokens": 1_000_000, "completion_tokens": 1_000_000, "total_tokens": 2_000_000},
}


def key(rule):
    return f'[[keys]]\nname = "alice"\nkey = "{KEY}"\nupstream_key = "sk-up"\n{rule}\n'


@pytest.fixture
def begin(start, tmp_path):
    """Start a daemon whose upstream answers with a document: `begin(toml, document)`."""

    def started(toml, document=COMPLETION):
        world = start(env={"RETRY__MAX_RETRIES": "0", "OBSERVERS": "none"}, **configured(tmp_path, toml))
        world.upstream.script = answer(document=document)
        return world

    return started


def chat(world, form, name="gpt-4o", document=BODY):
    return ask(world.port, post(KEY, document, form.format(name)))


def code(got):
    return json.loads(got.body)["error"]["code"]


@pytest.mark.parametrize("form", FORMS)
def test_the_allow_list_holds(begin, form):
    """The body may not name an allowed model in the place of one that is not, nor the other way round."""
    world = begin(key('models = ["gpt-4o-mini"]'))
    got = chat(world, form)
    assert (got.status, code(got), world.upstream.calls) == (403, "model_not_allowed", [])
    assert chat(world, form, "gpt-4o-mini", {**BODY, "model": "gpt-4o"}).status == 200


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("rule", "refusal"),
    [
        ("budget_usd = 0.5", "insufficient_quota"),
        ("limits = {tokens_per_minute = 1000}", "rate_limit_exceeded"),
    ],
)
def test_budget_and_token_limit_hold(begin, form, rule, refusal):
    """Two million tokens of a deployment are paid for: the next request is refused."""
    pytest.importorskip("genai_prices")
    world = begin(key(rule), DEAR)
    assert chat(world, form).status == 200
    got = chat(world, form)
    assert (got.status, code(got), len(world.upstream.calls)) == (429, refusal, 1)


@pytest.mark.parametrize("form", FORMS)
def test_thoughts_go_and_parameters_are_set(begin, form):
    """Rules of one model hold for its deployment, whatever the body calls it."""
    model = '[[models]]\nmatch = "gpt-4o"\nthink = "strip"\nparams = {temperature = 0.25}\n'
    world = begin(key("") + model, THOUGHT)
    got = json.loads(chat(world, form).body)
    assert got["choices"][0]["message"]["content"] == "fine"
    assert json.loads(world.upstream.calls[0].body)["temperature"] == 0.25
    assert json.loads(chat(world, form, "other").body) == THOUGHT


@pytest.mark.parametrize("form", FORMS)
def test_an_alias_is_replaced_in_the_path(begin, form):
    """What clients call by our name, the upstream knows by its own."""
    world = begin(key("") + '[[models]]\nmatch = "house"\nupstream_model = "my gpt"\n')
    assert chat(world, form, "house").status == 200
    below = map_target(form.format("my%20gpt").encode()).target
    assert world.upstream.calls[0].target == b"/v1" + below
    assert json.loads(world.upstream.calls[0].body) == BODY


@pytest.mark.parametrize(
    ("base", "target", "sent"),
    [
        ("/openai", FORMS[1], b"/openai/deployments/d/chat/completions?api-version=1"),
        ("/openai/v1", FORMS[1], b"/openai/deployments/d/chat/completions?api-version=1"),
        ("/openai/v1", "/openai/v1/chat/completions", b"/openai/v1/chat/completions"),
        ("/openai/v1", "/v1/chat/completions", b"/openai/v1/chat/completions"),
        ("/openai", FORMS[0], b"/openai/deployments/d/chat/completions?api-version=1"),
        ("/x", FORMS[1], b"/x/deployments/d/chat/completions?api-version=1"),
    ],
)
def test_where_it_goes(start, base, target, sent):
    """Deployments stand beside the /v1 of Azure's newer API, not below it."""
    upstream = Upstream()
    world = start(upstream=upstream, url=upstream.url.removesuffix("/v1") + base)
    upstream.script = answer()
    assert chat(world, target, "d").status == 200
    assert upstream.calls[0].target == sent


@pytest.mark.parametrize("streamed", [False, True])
def test_the_azure_client_of_the_sdk(begin, streamed):
    """`AzureOpenAI(azure_endpoint=...)` works as it is: its path, its `api-key`, its query."""
    openai = pytest.importorskip("openai", reason="pip install openai")
    world = begin(key('models = ["gpt-4o"]'))
    if streamed:
        world.upstream.script = stream(*events(delta("fine")))
    client = openai.AzureOpenAI(
        azure_endpoint=f"http://127.0.0.1:{world.port}", api_key=KEY, api_version="2024-10-21", max_retries=0
    )
    with client:
        got = client.chat.completions.create(model="gpt-4o", messages=BODY["messages"], stream=streamed)
        if streamed:
            assert [each.choices[0].delta.content for each in got] == ["fine"]
        else:
            assert got.choices[0].message.content == "hello"
        with pytest.raises(openai.PermissionDeniedError):
            client.chat.completions.create(model="gpt-5", messages=BODY["messages"])
    (call,) = world.upstream.calls
    assert call.target == b"/v1/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
    assert (call.header(b"api-key"), call.header(b"authorization")) == (None, b"Bearer sk-up")

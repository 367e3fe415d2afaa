"""Azure's forms of the API: the name of a deployment is the model for every rule."""

import contextlib
import json

import pytest
from world.client import ask
from world.daemon import configured
from world.requests import post
from world.scripts import COMPLETION, answer, delta, events, stream
from world.world import serving

from openai_proxy.wire.targets import map_target

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


RULES = {
    "allowed": 'models = ["gpt-4o-mini"]',
    "budget": "budget_usd = 0.5",
    "tokens": "limits = {tokens_per_minute = 1000}",
    "plain": "",
    "sdk": 'models = ["gpt-4o"]',
}
MODELS = """
[[models]]
match = "thinker"
think = "strip"
params = {temperature = 0.25}
[[models]]
match = "house"
upstream_model = "my gpt"
"""


def key(rule, form=FORMS[0]):
    """Return the key of a client that has this rule, and asks in this form only: no test spends another's."""
    return f"sk-client-{rule}-{FORMS.index(form)}-0123456789"


def toml():
    """Return a configuration with every rule for every form."""
    keys = [
        f'[[keys]]\nname = "{rule}-{number}"\nkey = "{key(rule, form)}"\nupstream_key = "sk-up"\n{RULES[rule]}\n'
        for rule in RULES
        for number, form in enumerate(FORMS)
    ]
    return "".join(keys) + MODELS


@pytest.fixture(scope="module")
def _world(tmp_path_factory):
    directory = tmp_path_factory.mktemp("azure")
    env = {"RETRY__MAX_RETRIES": "0", "OBSERVERS": "none"}
    with serving(directory, env=env, **configured(directory, toml())) as world:
        yield world


@pytest.fixture
def world(_world):
    """Share a daemon with all rules; its upstream answers and has not been asked."""
    _world.upstream.begin(answer())
    return _world


@pytest.fixture(scope="module")
def below(tmp_path_factory):
    """Return the world of a base path, `below("/openai")`, the same for all who ask for it."""
    worlds = {}
    with contextlib.ExitStack() as stack:

        def started(base):
            if base not in worlds:
                directory = tmp_path_factory.mktemp("azure")
                worlds[base] = stack.enter_context(serving(directory, base=base))
            worlds[base].upstream.begin(answer())
            return worlds[base]

        yield started


def chat(world, who, form, name="gpt-4o", document=BODY):
    return ask(world.port, post(who, document, form.format(name)))


def code(got):
    return json.loads(got.body)["error"]["code"]


@pytest.mark.parametrize("form", FORMS)
def test_the_allow_list_holds(world, form):
    """The body may not name an allowed model in the place of one that is not, nor the other way round."""
    alice = key("allowed", form)
    got = chat(world, alice, form)
    assert (got.status, code(got), world.upstream.calls) == (403, "model_not_allowed", [])
    assert chat(world, alice, form, "gpt-4o-mini", {**BODY, "model": "gpt-4o"}).status == 200


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("rule", "refusal"), [("budget", "insufficient_quota"), ("tokens", "rate_limit_exceeded")]
)
def test_budget_and_token_limit_hold(world, form, rule, refusal):
    """Two million tokens of a deployment are paid for: the next request is refused."""
    pytest.importorskip("genai_prices")
    world.upstream.begin(answer(document=DEAR))
    assert chat(world, key(rule, form), form).status == 200
    got = chat(world, key(rule, form), form)
    assert (got.status, code(got), len(world.upstream.calls)) == (429, refusal, 1)


@pytest.mark.parametrize("form", FORMS)
def test_thoughts_go_and_parameters_are_set(world, form):
    """Rules of one model hold for its deployment, whatever the body calls it."""
    world.upstream.begin(answer(document=THOUGHT))
    got = json.loads(chat(world, key("plain"), form, "thinker").body)
    assert got["choices"][0]["message"]["content"] == "fine"
    assert json.loads(world.upstream.calls[0].body)["temperature"] == 0.25
    assert json.loads(chat(world, key("plain"), form, "other").body) == THOUGHT


@pytest.mark.parametrize("form", FORMS)
def test_an_alias_is_replaced_in_the_path(world, form):
    """What clients call by our name, the upstream knows by its own."""
    assert chat(world, key("plain"), form, "house").status == 200
    target = map_target(form.format("my%20gpt").encode()).target
    assert world.upstream.calls[0].target == b"/v1" + target
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
def test_where_it_goes(below, base, target, sent):
    """Deployments stand beside the /v1 of Azure's newer API, not below it."""
    world = below(base)
    assert chat(world, "sk-any", target, "d").status == 200
    assert world.upstream.calls[0].target == sent


@pytest.mark.parametrize("streamed", [False, True])
def test_the_azure_client_of_the_sdk(world, streamed):
    """`AzureOpenAI(azure_endpoint=...)` works as it is: its path, its `api-key`, its query."""
    openai = pytest.importorskip("openai", reason="pip install openai")
    if streamed:
        world.upstream.script = stream(*events(delta("fine")))
    client = openai.AzureOpenAI(
        azure_endpoint=f"http://127.0.0.1:{world.port}",
        api_key=key("sdk"),
        api_version="2024-10-21",
        max_retries=0,
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

"""A key with an allow-list uses no other model, wherever the model is named."""

import json

import fakes
import pytest
from fakes import refusal

from openai_proxy.exchange.access_errors import ModelNotAllowed
from openai_proxy.exchange.errors import InvalidJSON, UnreadableBody
from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.policies.authenticate.keyring import ClientKey, Keyring
from openai_proxy.policies.authorize.allow_models import AllowModels
from openai_proxy.policies.authorize.named_models import models_in
from openai_proxy.wire.keys import key_digest
from openai_proxy.wire.request_json import outline
from openai_proxy.wire.targets import map_target

KEYRING = Keyring(
    [
        ClientKey("listed", key_digest(b"a"), b"up", models=("gpt-4o", "text-*")),
        ClientKey("free", key_digest(b"b"), b"up"),
    ]
)


def admitted(
    key, target=b"/chat/completions", body=b"{}", document=None, upgrade=False, method=None, **fields
):
    if document is not None and body == b"{}":
        body = json.dumps(document).encode()
    document, odd_names = outline(json.loads(body)) if document is not None else (None, False)
    path = map_target(b"/v1" + target)
    exchange = fakes.exchange(key=key)
    request = ProxyRequest(
        method=method or (b"POST" if body else b"GET"),
        target=target,
        headers=[],
        body=body,
        exchange=exchange,
        document=document,
        odd_names=odd_names,
        upgrade=upgrade,
        endpoint=path.named,
        path_model=path.model,
        **fields,
    )
    error = refusal(AllowModels(KEYRING), request)
    assert isinstance(error, ModelNotAllowed | UnreadableBody | None)
    return error is None


@pytest.mark.parametrize(
    "body",
    [
        b"{" + b'"model":"gpt-4o",' * 2000 + b'"x":1}',
        b'{"model":"gpt-4o","fallbacks":[' + b'"gpt-4o",' * 2000 + b'"gpt-4o"]}',
        b'{"model":"gpt-4o","input":[' + b'{"tools":[]},' * 60_000 + b"{}]}",
    ],
)
def test_a_body_that_takes_seconds_to_look_at_is_refused(body):
    """A million members called `model` stopped the daemon for seven seconds."""
    path = map_target(b"/v1/responses")
    request = ProxyRequest(
        b"POST", b"/responses", [], body, fakes.exchange(path="/x", key="listed"),
        document=outline(json.loads(body))[0], endpoint=path.named,
    )  # fmt: skip
    assert isinstance(refusal(AllowModels(KEYRING), request), InvalidJSON)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"document": {"model": "gpt-4o"}}, True),
        ({"document": {"model": "text-embedding-3-small"}}, True),
        ({"document": {"model": "gpt-5"}}, False),
        ({"document": {"model": 7}}, False),
        ({"document": {}}, False),
        (
            {
                "document": {"model": "gpt-4o"},
                "target": b"/deployments/gpt-5/chat/completions",
            },
            False,
        ),
        ({"document": {"model": "gpt-5"}, "target": b"/deployments/gpt-4o/chat/completions"}, True),
        ({"document": {}, "target": b"/engines/gpt-4o/completions"}, True),
        (
            {
                "document": {"model": "x", "tools": [{"model": "gpt-5"}]},
                "target": b"/deployments/gpt-4o/responses",
            },
            False,
        ),
        ({"body": b"a form", "target": b"/deployments/gpt-4o/audio/transcriptions"}, True),
        ({"body": None, "target": b"/deployments/gpt-5"}, False),
        ({"body": None, "target": b"/realtime?deployment=gpt-5"}, False),
        ({"body": None, "target": b"/models"}, True),
        ({"body": None, "target": b"/models/gpt-4o"}, True),
        ({"body": None, "target": b"/models/gpt-5"}, False),
        ({"body": None, "target": b"/models/gpt%2D5?x=1"}, False),
        ({"body": None, "target": b"/%6dodels/gpt-5"}, False),
        ({"body": None, "target": b"/realtime?model=gpt-4o"}, True),
        ({"body": None, "target": b"/realtime?x=1&m%6Fdel=gpt%2D5"}, False),
        ({"body": None, "target": b"/realtime?model=gpt-4o&model=gpt-5"}, False),
        ({"target": b"/audio/transcriptions", "body": object()}, False),
        ({"target": b"/audio/transcriptions", "body": object(), "form_model": "gpt-4o"}, True),
        ({"target": b"/audio/transcriptions", "body": object(), "form_model": "whisper-1"}, False),
        ({"document": {"model": "gpt-4o"}, "body": b' {"model":"gpt-4o","x":{"model":"gpt-5"}}'}, True),
        ({"document": {"model": "gpt-4o"}, "body": b'{"model":"gpt-5","model":"gpt-4o"}'}, False),
        ({"document": {"model": "gpt-4o"}, "body": b'{"\\u006dodel":"gpt-5","model":"gpt-4o"}'}, False),
        ({"body": None, "target": b"/realtime?model=gpt-4o", "upgrade": True}, True),
        ({"body": None, "target": b"/responses", "upgrade": True}, False),
        ({"body": b"\x1f\x8b compressed"}, False),
        ({"document": {"model": "gpt-4o", "Model": "gpt-5"}}, False),
        ({"document": {"MODEL": "gpt-5"}}, False),
        ({"document": {"model": "gpt-4o", "Model": "text-a"}}, False),
        ({"document": {"model": "gpt-4o", "Model": "gpt-4o"}}, True),
        ({"document": {"input": "x"}, "target": b"/responses?model=gpt-4o"}, False),
        ({"document": {"prompt": {"id": "pmpt_1"}}, "target": b"/responses"}, False),
        ({"document": {"input": "x"}, "target": b"/responses/compact"}, False),
        ({"document": {"input": "x"}, "target": b"/moderations"}, False),
        ({"document": {"prompt": "x"}, "target": b"/images/generations"}, False),
        ({"document": {"model": "gpt-4o", "tools": [{"type": "x"}, {"Model": "gpt-5"}]}}, False),
        ({"document": {"model": "gpt-4o", "input": [{"tools": [{"model": "gpt-5"}]}]}}, False),
        ({"document": {"model": "gpt-4o", "input": [{"tools": [{"Model": "gpt-5"}]}]}}, False),
        ({"document": {"model": "gpt-4o", "Input": [{"Tools": [{"MODEL": "gpt-5"}]}]}}, False),
        ({"document": {"model": "gpt-4o", "tools": [{"tools": [{"model": "gpt-5"}]}]}}, False),
        ({"document": {"model": "gpt-4o", "input": [{"tools": [{"model": "gpt-4o"}]}]}}, True),
        ({"document": {"model": "gpt-4o", "input": [{"text": {"model": "gpt-5"}}]}}, True),
        ({"document": {"items": [{"tools": [{"model": "gpt-5"}]}]}, "target": b"/conversations"}, False),
        ({"document": {"items": []}, "target": b"/conversations"}, True),
        ({"body": None, "target": b"/realtime?Model=gpt-5"}, False),
        ({"body": None, "target": b"/realtime?x=1;deployment=gpt-5"}, False),
        ({"document": {"model": "gpt-4o", "tools": [{"type": "function", "name": "model"}]}}, True),
        ({"document": {"model": "gpt-4o", "tools": None, "models": None}}, True),
        ({"document": {"model": "gpt-4o", "models": ["gpt-5"]}}, False),
        ({"document": {"model": "gpt-4o", "models": ["gpt-4o", "text-x"]}}, True),
        ({"document": {"model": "gpt-4o", "fallbacks": [{"model": "gpt-5"}]}}, False),
        ({"document": {"model": "gpt-4o", "fallbacks": "gpt-5"}}, False),
        (
            {
                "document": {"model": "gpt-4o"},
                "body": b'{"model":"gpt-4o","tools":[{"model":"x"}],"tools":[]}',
            },
            False,
        ),
        ({"document": {"session": {"model": "gpt-5"}}, "target": b"/realtime/client_secrets"}, False),
        (
            {
                "document": {
                    "model": "gpt-4o",
                    "session": {"audio": {"input": {"transcription": {"model": "whisper-1"}}}},
                }
            },
            False,
        ),
        ({"document": {"assistant_id": "a"}, "target": b"/threads/t/runs"}, False),
        ({"document": {"assistant_id": "a"}, "target": b"/threads/runs"}, False),
        ({"document": {"assistant_id": "a", "model": "gpt-4o"}, "target": b"/threads/runs"}, True),
        ({"document": {"data_source": {"model": "gpt-5"}}, "target": b"/evals/e/runs"}, False),
        ({"document": {"data_source": {"model": "gpt-4o"}}, "target": b"/evals/e/runs"}, True),
        ({"document": {"agent": {"model": "gpt-4o"}}, "target": b"/agents/sessions"}, True),
        (
            {"document": {"model": "gpt-4o", "agent": {"model": "gpt-5"}}, "target": b"/agents/sessions"},
            False,
        ),
        ({"document": {"agent_id": "a"}, "target": b"/agents/sessions"}, False),
        ({"document": {"target": {"agent": {"model": "gpt-5"}}}, "target": b"/agents/automations"}, False),
        ({"document": {"testing_criteria": [{"model": "gpt-5"}]}, "target": b"/evals"}, False),
        ({"document": {"testing_criteria": []}, "target": b"/evals"}, True),
        (
            {
                "document": {"grader": {"type": "multi", "graders": {"one": {"model": "gpt-5"}}}},
                "target": b"/fine_tuning/alpha/graders/run",
            },
            False,
        ),
        ({"document": {"input_file_id": "f"}, "target": b"/batches"}, False),
        ({"document": {}, "target": b"/vector_stores"}, True),
        ({"document": {}, "target": b"/batches/b/cancel"}, True),
        ({"document": {}, "target": b"/threads/t/messages"}, True),
        ({"body": object(), "target": b"/files"}, True),
        ({"body": b"", "target": b"/responses/r/cancel", "method": b"POST"}, True),
        ({"body": b"", "target": b"/responses", "method": b"POST"}, False),
        ({"document": {"metadata": {}}, "target": b"/chat/completions/c"}, True),
        ({"body": None, "target": b"/files"}, True),
        ({"body": None, "target": b"/responses/r"}, True),
    ],
)
def test_a_listed_key_uses_only_its_models(fields, expected):
    """What cannot be read could name any model, and is refused."""
    assert expected is admitted("listed", **fields)


@pytest.mark.parametrize("key", ["free", None, "unknown"])
def test_others_use_any_model(key):
    """Without an allow-list nothing is checked."""
    assert admitted(key, body=object(), target=b"/responses")


@pytest.mark.parametrize(
    ("further", "expected"),
    [
        ({"moderation": {"model": "gpt-4o"}}, True),
        ({"moderation": {"model": "omni-moderation-latest"}}, False),
        ({"Moderation": {"Model": "omni-moderation-latest"}}, False),
        ({"moderation": "low"}, True),
        ({"moderation": None}, True),
        ({"tools": [{"type": "image_generation", "model": "text-to-image"}]}, True),
        ({"tools": [{"type": "image_generation"}]}, False),
        ({"tools": [{"type": "function", "name": "image_generation"}]}, True),
        ({"tools": [{"type": "namespace", "tools": [{"type": "image_generation", "model": None}]}]}, False),
        ({"input": [{"type": "additional_tools", "tools": [{"type": "IMAGE_GENERATION"}]}]}, False),
    ],
)
def test_models_that_judge_and_draw_for_a_request_count(further, expected):
    """What moderates an answer, and what draws if the tool names no model, which is OpenAI's default."""
    assert admitted("listed", b"/responses", document={"model": "gpt-4o", **further}) is expected
    assert admitted("free", b"/responses", document={"model": "gpt-4o", **further})


def test_a_list_with_the_default_model_lets_images_be_drawn():
    """Its name is the one that OpenAI's description states."""
    tools = {"tools": [{"type": "image_generation"}]}
    text = json.dumps({"model": "x", **tools}).encode()
    assert models_in(text, json.loads(text)) == ["x", "gpt-image-1"]

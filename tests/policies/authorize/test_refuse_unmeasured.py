"""A key with a budget asks for nothing whose cost cannot be measured; no rule is bypassed."""

import json

import pytest
from fakes import exchange, refusal

from openai_proxy.exchange.access_errors import NotMeasured
from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.policies.authorize.refuse_unmeasured import RefuseUnmeasured
from openai_proxy.policies.authorize.refuse_unseen import RefuseUnseen
from openai_proxy.wire.request_json import outline, read_request

FUNCTION = {"type": "function", "function": {"name": "web_search"}}


def error_of(stage, key="alice", body=None, **fields):
    document, text = None, None
    if body is not None:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        document = outline(read_request(text).document)[0]
    request = ProxyRequest(
        fields.pop("method", b"POST"),
        b"/x",
        [],
        text,
        exchange(credential_id=key),
        document=document,
        **fields,
    )
    return refusal(stage, request)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"service_tier": "auto"}, None),
        ({"service_tier": "default"}, None),
        ({"service_tier": "flex"}, None),
        ({"service_tier": None}, None),
        ({"service_tier": "priority"}, "service_tier"),
        ({"service_tier": "scale"}, "service_tier"),
        ({"service_tier": ["auto"]}, "service_tier"),
        ({"Service_Tier": "priority"}, "service_tier"),
        (b'{"service_tier":"priority","Service_Tier":"default"}', "service_tier"),
        (b'{"service_tier":"priority","service_tier":"default"}', "service_tier"),
        (b'{"service\\u005ftier":"priority"}', "service_tier"),
        ({"tools": []}, None),
        ({"tools": None}, None),
        ({"tools": [FUNCTION]}, None),
        ({"tools": [FUNCTION, {"type": "web_search"}]}, "tools"),
        ({"tools": [{"type": "web_search_preview_2025_03_11"}]}, "tools"),
        ({"tools": [{"type": "computer_use_preview"}]}, "tools"),
        ({"tools": [{"type": "code_interpreter"}]}, "tools"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}, "tools"),
        ({"Tools": [{"Type": "image_generation"}]}, "tools"),
        ({"tools": [{"type": "mcp"}, "x", {"type": 7}]}, None),
        ({"web_search_options": {}}, "web_search_options"),
        ({"input": [{"type": "additional_tools", "tools": [{"type": "web_search"}]}]}, "input"),
        ({"Input": [{"type": "tool_search_output", "Tools": [{"type": "file_search"}]}]}, "input"),
        (b'{"input":[{"type":"additional_tools","\\u0074ools":[{"type":"web_search"}]}]}', "input"),
        ('{"input":[{"tool\u017f":[{"type":"web_search"}]}]}'.encode(), "input"),
        ({"items": [{"type": "additional_tools", "tools": [{"type": "code_interpreter"}]}]}, "items"),
        ({"input": [{"type": "additional_tools", "tools": [FUNCTION]}]}, None),
        (
            {
                "input": [
                    {"type": "mcp_list_tools", "tools": [{"name": "a", "input_schema": {"type": "object"}}]}
                ]
            },
            None,
        ),
        ({"input": 'the "tools": [{"type": "web_search"}]'}, None),
        ({"tools": [{"type": "namespace", "tools": [{"type": "web_search"}]}]}, "tools"),
        ({"tools": [{"type": "shell", "environment": {"type": "container_auto"}}]}, "tools"),
        ({"tools": [{"type": "shell", "environment": {"type": "container_reference"}}]}, "tools"),
        ({"tools": [{"type": "shell", "environment": {"type": "local"}}]}, None),
        ({"tools": [{"type": "shell"}]}, None),
        ({"session": {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}}, "session"),
        ({"session": {"input_audio_transcription": {}}}, "session"),
        ({"session": {"type": "transcription"}}, "session"),
        (b'{"session":{"audio":{"input":{"transcription":{}}}},"session":{}}', "session"),
        ({"session": {"type": "realtime", "audio": {"input": {"transcription": None}}}}, None),
        ({"input": [{"type": "web_search"}]}, None),
        ({"prompt": {"id": "pmpt_1", "version": "2"}}, "prompt"),
        ({"prompt": {"id": "pmpt_1"}, "model": "gpt-4o-mini"}, "prompt"),
        ({"Prompt": {"id": "pmpt_1"}}, "prompt"),
        (b'{"prompt": null, "prompt":\n {"id":"pmpt_1"}}', "prompt"),
        ({"prompt": None}, None),
        ({"prompt": "a cat", "model": "gpt-image-1"}, None),
        ({"prompt": ["{", "b"]}, None),
        ({"assistant_id": "asst_1"}, "assistant_id"),
        ({"assistant_id": None}, None),
        ({"agent_id": "agent_1"}, "agent_id"),
    ],
)
def test_what_a_budget_cannot_measure(body, param):
    """403 whose `param` names the member; other keys may ask for it."""
    stage = RefuseUnmeasured(frozenset(["alice"]))
    error = error_of(stage, body=body)
    assert (error.param if error else None) == param
    assert error is None or isinstance(error, NotMeasured)
    assert error_of(stage, key="bob", body=body) is None


@pytest.mark.parametrize(
    ("endpoint", "body", "param"),
    [
        ("evals/{id}/runs", {"data_source": {"model": "gpt-4o-mini"}}, None),
        ("fine_tuning/jobs", {"model": "gpt-4o-mini", "training_file": "f"}, None),
        ("fine_tuning/alpha/graders/run", {"grader": {"model": "gpt-4o-mini"}}, None),
        ("agents/sessions", {"agent": {"model": "gpt-4o-mini"}, "input": "x"}, None),
        ("agents/sessions/{id}/events", {"type": "x"}, None),
        ("containers", {"name": "x"}, None),
        ("images/generations", {"prompt": "a cat"}, "model"),
        ("images/generations", {"prompt": "a cat", "model": None}, "model"),
        ("videos", {"prompt": "a cat"}, "model"),
        ("videos/{id}/remix", {"prompt": "a cat"}, "model"),
        ("images/edits", None, "model"),
    ],
)
def test_what_tells_neither_model_nor_usage(endpoint, body, param):
    """A key with a budget and `endpoints = ["@all"]` had such runs, and images of the default model, for nothing."""
    stage = RefuseUnmeasured(frozenset(["alice"]))
    error = error_of(stage, body=body, endpoint=endpoint)
    assert isinstance(error, NotMeasured)
    assert error.param == param
    assert error_of(stage, key="bob", body=body, endpoint=endpoint) is None
    assert error_of(stage, endpoint=endpoint, method=b"GET") is None


@pytest.mark.parametrize(
    ("endpoint", "fields"),
    [
        ("images/generations", {"body": {"prompt": "a cat", "model": "gpt-image-1"}}),
        ("images/edits", {"form_model": "gpt-image-1"}),
        ("images/generations", {"path_model": "gpt-image-1", "body": {"prompt": "a cat"}}),
        ("evals", {"body": {"name": "x"}}),
        ("moderations", {"body": {"input": "x"}}),
        ("responses", {"body": {"input": "x"}}),
    ],
)
def test_what_names_a_model_or_may_do_without_is_measured(endpoint, fields):
    """A local server has a default model of its own, and its answers name it."""
    assert error_of(RefuseUnmeasured(frozenset(["alice"])), endpoint=endpoint, **fields) is None


RULES = RefuseUnseen({"alice": "a budget"}, None, frozenset())


@pytest.mark.parametrize(
    ("endpoint", "refused"),
    [
        ("realtime/client_secrets", True),
        ("realtime/sessions", True),
        ("realtime/transcription_sessions", True),
        ("realtime/translations/client_secrets", True),
        ("realtime/calls", True),
        ("realtime/calls/{id}/accept", True),
        ("realtime", True),
        ("live/sessions", True),
        ("chatkit/sessions", True),
        ("chatkit/sessions/{id}/cancel", False),
        ("realtime/calls/{id}/hangup", False),
        ("responses", False),
    ],
)
def test_no_ephemeral_keys_for_keys_with_rules(endpoint, refused):
    """What goes past the proxy keeps to no rule; keys without one may have it."""
    error = error_of(RULES, endpoint=endpoint)
    assert (error is not None) is refused
    assert error is None or isinstance(error, NotMeasured)
    assert error_of(RULES, key="bob", endpoint=endpoint) is None


def test_a_limit_of_tokens_for_everybody_counts_but_for_those_who_have_none():
    """`rate_limit.tokens_per_minute` is a rule of all but the keys whose own limit is none."""
    stage = RefuseUnseen({}, "a limit of model tokens", frozenset(["free"]))
    assert error_of(stage, key="cred-1", endpoint="realtime/sessions")
    assert error_of(stage, key="free", endpoint="realtime/sessions") is None


def opening(query, key, endpoint):
    """Return the request that opens a WebSocket."""
    record = exchange(credential_id=key)
    return ProxyRequest(b"GET", b"/realtime?" + query, [], None, record, upgrade=True, endpoint=endpoint)


@pytest.mark.parametrize(
    ("endpoint", "query", "param"),
    [
        ("realtime", b"intent=transcription", "intent"),
        ("realtime", b"Intent=%54ranscription", "intent"),
        ("realtime/translations", b"model=x", None),
    ],
)
def test_what_a_websocket_transcribes_is_not_measured(endpoint, query, param):
    """It costs without any response, whose usage would tell."""
    stage = RefuseUnmeasured(frozenset(["alice"]))
    refused, passed = (refusal(stage, opening(query, key, endpoint)) for key in ("alice", "bob"))
    assert (refused.param, passed) == (param, None)
    assert refusal(stage, opening(b"model=x", "alice", "realtime")) is None

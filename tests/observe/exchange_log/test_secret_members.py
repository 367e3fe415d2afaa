"""Credentials that travel in bodies are not in the record; what people wrote is."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.observe.exchange_log.credentials import without_texts
from openai_proxy.observe.exchange_log.secret_members import (
    MOST_CONTAINERS,
    MOST_STRINGS,
    is_laborious,
    shows_no_credentials,
    without_credentials,
)
from openai_proxy.observe.exchange_log.torn_members import MOST_TORN_STRINGS, torn_without_credentials

GONE = "[redacted]"
MCP = {
    "type": "mcp",
    "server_label": "canary",
    "server_url": "https://user:CANARYpass@mcp.example/s/CANARY0123456789abcdef/mcp?x=CANARYquery",
    "authorization": "CANARYopaque",
    "headers": {"Authorization": "Bearer CANARY", "X-Own": "CANARYopaque", "n": ["CANARYopaque"]},
}
LEAKS = {
    "ephemeral key": {"value": "ek_CANARY68af296e8e", "expires_at": 1, "session": {"type": "realtime"}},
    "session": {"object": "realtime.session", "client_secret": {"value": "CANARY", "expires_at": 1}},
    "chatkit": {"object": "chatkit.session", "client_secret": "CANARYopaque", "status": "active"},
    "service account": {"id": "svc", "api_key": {"object": "x", "value": "sk-svcacct-CANARY0123456789"}},
    "admin key": {"id": "key_x", "value": "sk-admin-CANARY0123456789"},
    "mcp": {"model": "m", "input": "x", "tools": [MCP]},
    "mcp, echoed in a session": {"type": "session.updated", "session": {"tools": [{**MCP, "type": "x"}]}},
    "connector": {"tools": [{"connector_id": "c", "authorization": "CANARY", "headers": "CANARYopaque"}]},
    "model": {"model": "sk-proj-CANARYabcdefghijkl"},
    "webhook": {"object": "webhook_endpoint", "signing_secret": "whsec_CANARYabcdef"},
    "error": {"error": {"message": "Incorrect API key provided: sk-CANARY123456. Find yours at https://x"}},
    "url": {
        "content": [{"type": "input_file", "file_url": "https://x/y?sig=CANARY&X-Amz-Signature=CANARYx"}]
    },
    "spelling": {"clientSecret": "CANARYopaque", "Api-Key": "CANARYopaque", "ACCESS_TOKEN": "CANARYopaque"},
    "a member's name": {"metadata": {"sk-CANARYabcdefghijkl": "x"}},
    "list": {"api_key": ["CANARY", {"value": ["CANARY"]}]},
    "metadata": {"metadata": {"k": "Bearer CANARYopaque"}},
    "vault": {"name": "n", "auth": {"type": "static_bearer", "token": "CANARYopaque", "mcp_server_url": "x"}},
    "vault, for an environment": {"auth": {"secret_name": "API_KEY", "secret_value": "CANARYopaque"}},
    "vault, OAuth": {"auth": {"access_token": "CANARYopaque", "refresh": {"refresh_token": "CANARYopaque"}}},
    "network policy": {
        "network_policy": {
            "domain_secrets": [
                {"domain": "x", "name": "API_KEY", "value": "CANARYopaque"},
                {"domain": "y", "name": "API_KEY", "value": "CANARYopaque"},
            ]
        }
    },
    "environment": {"environment": {"type": "x", "env": {"API_KEY": "CANARYopaque"}}},
    "browser": {
        "type": "browser_authentication",
        "fields": [{"field_id": "password", "value": "CANARYopaque"}],
    },
}
HARMLESS = {
    "prompt": {"messages": [{"role": "user", "content": "Is sk-proj-abcdefghijkl a key? api_key=abc"}]},
    "parts": {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Bearer abcdefghijk"}]}]},
    "strings": {"input": ["sk-proj-abcdefghijkl", "b"], "prompt": ["sk-proj-abcdefghijkl"]},
    "answer": {"choices": [{"message": {"content": "Use sk-proj-abcdefghijkl"}}]},
    "arguments": {"tool_calls": [{"function": {"name": "f", "arguments": '{"key":"sk-abcdefghijkl"}'}}]},
    "variables": {"prompt": {"id": "p", "variables": {"city": "sk-proj-abcdefghijkl"}}},
    "logprobs": {"logprobs": {"content": [{"token": "Bearer abcdefghij", "logprob": -1.0}]}},
    "schema": {
        "tools": [
            {
                "type": "function",
                "parameters": {
                    "properties": {
                        "api_key": {"type": "string", "description": "your key"},
                        "auth": {"type": "object", "properties": {"token": {"type": "string"}}},
                        "env": {"type": "string", "description": "your environment"},
                        "fields": {"value": "canary"},
                    }
                },
            }
        ]
    },
    "headers of no tool server": {"x": {"type": "x", "headers": {"X-Own": "canary-value", "n": ["canary"]}}},
    "embedding": {"data": [{"object": "embedding", "embedding": [0.5, -1, None, True], "index": 0}]},
    "command": {"action": {"type": "exec", "command": ["ls"], "env": {"PAGER": "cat"}}},
    "image": {"content": [{"image_url": {"url": "data:image/png;base64," + "sk-abcdef/" * 200}}]},
    "ids": {
        "id": "chatcmpl-abcdefghijkl",
        "model": "ft:gpt-4o:org::AbCdEf",
        "system_fingerprint": "fp_0123456789",
    },
    "numbers": {"seed": 12345678, "max_tokens": None, "stream": True, "secret": 5},
}


@pytest.mark.parametrize("case", LEAKS)
def test_credentials_in_bodies_are_blotted_out(case):
    """By the name of their member or by their look, and nothing else of the body is lost."""
    shown = without_credentials(copy.deepcopy(LEAKS[case]))
    assert "CANARY" not in json.dumps(shown)
    assert GONE in json.dumps(shown)
    if case != "a member's name":
        assert list(shown) == list(LEAKS[case])


@pytest.mark.parametrize("case", LEAKS)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", " : ")], ids=["tight", "loose"])
def test_credentials_in_cut_bodies_are_blotted_out(case, separators):
    """However far the body has come when the log's limit cuts it off."""
    whole = json.dumps(LEAKS[case], separators=separators).encode()
    if case in ("a member's name", "browser"):
        pytest.skip("what is about a member is looked at in whole bodies only")
    for end in range(1, len(whole) + 1):
        shown = torn_without_credentials(whole[:end])
        assert b"CANARY" not in shown, (whole[:end], shown)
    assert list(json.loads(shown)) == list(LEAKS[case])


def test_where_a_tool_server_is_can_be_seen():
    """Only what may be a key is taken out of its address."""
    shown = without_credentials(copy.deepcopy(MCP))
    assert shown["server_url"] == "https://mcp.example/s/[redacted]/mcp?[redacted]"
    assert shown["server_label"] == "canary"


@pytest.mark.parametrize("case", HARMLESS)
def test_what_is_no_credential_stays(case):
    """Prompts, answers, schemas and pictures are recorded as they were."""
    assert without_credentials(copy.deepcopy(HARMLESS[case])) == HARMLESS[case]
    text = json.dumps(HARMLESS[case], separators=(",", ":")).encode()
    if case != "arguments":  # in which a member stands inside a string
        assert shows_no_credentials(copy.deepcopy(HARMLESS[case]), text)
    if case not in ("variables", "schema", "headers of no tool server", "command"):
        assert torn_without_credentials(text) == text


def test_a_member_that_comes_twice_is_not_overlooked():
    """Decoding keeps the last one only: the text itself must not be copied into the line."""
    text = b'{"client_secret":"CANARYopaque","client_secret":null}'
    assert not shows_no_credentials(json.loads(text), text)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)


@given(JSON_VALUES, st.lists(st.text(min_size=1, max_size=4), max_size=3))
def test_what_is_blotted_out_is_a_whole_value_again(value, secrets):
    """Whatever a body and a credential are, a JSON value comes out, and no secret is in its strings."""
    shown = without_texts(without_credentials(copy.deepcopy(value)), secrets)
    assert json.loads(json.dumps(shown)) == shown
    if not any(secret in GONE or GONE in secret for secret in secrets):
        assert type(shown) is type(value)


def test_a_cut_body_is_looked_into_up_to_a_number_of_strings():
    """A body of very many short strings would keep everybody waiting; what is not looked into is not shown."""
    member = b'"name":"a value",'
    text = b"{" + member * MOST_TORN_STRINGS
    shown = torn_without_credentials(text)
    assert shown == b"{" + member * (MOST_TORN_STRINGS // 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'"a",' * MOST_STRINGS, False),
        (b'"a",' * (MOST_STRINGS + 1), True),
        (b"[]," * MOST_CONTAINERS, False),
        (b"[]{}," * (MOST_CONTAINERS // 2 + 1), True),
        (b'{"content":"' + b"long " * 1_000_000 + b'"}', False),
    ],
    ids=["strings", "too many strings", "lists", "too many lists and objects", "one long text"],
)
def test_bodies_are_laborious_by_their_number_of_values(text, expected):
    """A long prompt is not; hundreds of thousands of members are."""
    assert is_laborious(text) == expected

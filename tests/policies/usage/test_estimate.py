"""What is reserved of a key's model tokens before a request goes on."""

import base64
import json

import pytest

from openai_proxy.policies.override.params import ModelParams, from_table, from_text
from openai_proxy.policies.usage.estimate import (
    TokenEstimate,
    estimated_input_tokens,
    prompt_tokens,
    reserved_model_tokens,
    token_estimate,
)

BODY = b"x" * 400
"""100 tokens by its size."""
RULES = (
    from_table("gpt-*", {"max_tokens": 50}, {"max_completion_tokens": 700, "n": 2}),
    *from_text("model=free,max_tokens=null;model=cold,temperature=0"),
)


def estimate(rules=RULES, body=BODY, method=b"POST", **document):
    model = document.get("model")
    model = model if isinstance(model, str) else None
    return token_estimate(rules)(method, body, document, model, endpoint="chat/completions")


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"model": "gpt-4", "max_tokens": 9000, "max_completion_tokens": 1, "n": 1}, 150),
        ({"model": "gpt-4", "max_completion_tokens": 60}, 100 + 2 * 50),
        ({"model": "gpt-4"}, 100 + 2 * 50),
        ({"model": "gpt-4", "max_completion_tokens": None, "n": None}, 200),
        ({"model": "free", "max_tokens": 9000}, 100),
        ({"model": "cold", "max_tokens": 9000}, 9100),
        ({"model": "other", "max_tokens": 9000}, 9100),
        ({"model": 5, "max_tokens": 9000}, 9100),
        ({"max_tokens": 9000}, 9100),
        ({"max_tokens": 10, "n": 2, "best_of": 20}, 300),
        ({"max_tokens": 10, "n": 3, "best_of": 1}, 130),
        ({"max_tokens": 10, "best_of": True}, 110),
    ],
)
def test_what_the_configuration_sets_is_what_is_reserved(document, expected):
    """A client that asks for more than it will get waits for no more than it will get."""
    assert expected == estimate(**document)


def test_parameters_that_change_no_output_are_not_looked_at():
    """Most configurations set none that does: their requests cost no look at their parameters."""
    rules = from_text("model=cold,temperature=0")
    assert token_estimate(rules) is token_estimate([]) is reserved_model_tokens


def test_requests_without_a_document_are_estimated_as_ever():
    """Uploads and look-ups name no model in a body."""
    assert TokenEstimate(RULES)(b"POST", object(), None, None) == 1
    assert TokenEstimate(RULES)(b"GET", None, None, None) == 0


def test_counting_tokens_reserves_none():
    """Whatever the configuration sets for the model."""
    assert TokenEstimate(RULES)(b"POST", BODY, {"model": "gpt-4"}, "gpt-4", 7, "responses/input_tokens") == 0


def test_the_model_of_the_path_decides():
    """Of an Azure deployment the body may name another model, or none."""
    for document in ({"model": "other", "max_tokens": 9000}, {"max_tokens": 9000}):
        found = TokenEstimate(RULES)(b"POST", BODY, document, "gpt-4", endpoint="chat/completions")
        assert found == 200


def test_the_request_itself_is_not_changed():
    """The estimate is made of a copy."""
    document = {"model": "gpt-4", "max_tokens": 9000}
    TokenEstimate(RULES)(b"POST", BODY, document, "gpt-4")
    assert document == {"model": "gpt-4", "max_tokens": 9000}


def test_however_many_models_clients_name_few_are_remembered():
    """Names come from outside: what is kept of them has a bound."""
    estimate = TokenEstimate([ModelParams("*", {"max_tokens": 1}, glob=True)])
    for number in range(2500):
        assert estimate(b"POST", BODY, {}, str(number), endpoint="completions") == 101
    assert len(estimate._changes) <= 1000
    huge = "x" * 1_000_000
    assert estimate(b"POST", BODY, {}, huge, endpoint="completions") == 101
    assert (huge, "completions") not in estimate._changes._kept


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"messages": [{"role": "user", "content": "12345678"}]}, 3),
        ({"input": [1, 2, 3]}, 3),
        ({"input": [[1, 2], [3]]}, 3),
        ({"input": [[], 0, [7, [1.5, None]], {}, True, "12345678", {"x": ["1234", {"y": "1234"}]}]}, 7),
        ({"prompt": "é" * 4, "max_tokens": 5}, 2),
        ({"messages": [{"content": [{"type": "x", "image_url": {"url": "data:" + "A" * 9000}}]}]}, 766),
        ({"input": [{"type": "x", "image_url": "https://a/b.png", "detail": "low"}]}, 86),
        ({"input": [{"type": "x", "file_data": base64.b64encode(b"a" * 400).decode()}]}, 102),
        ({"input": [{"type": "x", "file_id": "file-1"}]}, 1001),
        ({"messages": [{"content": [{"file": {"file_id": "file-1"}}]}]}, 1000),
        ({"messages": [{"content": [{"video_url": {"url": "https://a"}}]}]}, 1000),
        ({"query": "12345678", "documents": ["1234"], "model": "x" * 99}, 3),
        ({"input": "\ud800", "messages": None}, 1),
        ({}, 0),
    ],
)
def test_prompts_are_estimated(document, expected):
    """A quarter of the bytes of text; token ids and media have rules of their own."""
    assert estimated_input_tokens(document) == expected


def test_limits_and_budgets_reserve_the_same_for_a_photo():
    """300 KB of base64 are 765 tokens and a few of text, not 100,000."""
    url = "data:image/png;base64," + base64.b64encode(b"\x89PNG" + bytes(300_000)).decode()
    document = {"model": "m", "messages": [{"content": [{"type": "image_url", "image_url": {"url": url}}]}]}
    body = json.dumps(document).encode()
    assert prompt_tokens(body, document) == 768
    assert TokenEstimate()(b"POST", body, document) == 768

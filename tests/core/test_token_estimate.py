"""What is reserved of a key's model tokens before a request goes on."""

import pytest

from openai_proxy.core.llm_params import ModelParams, from_table, from_text
from openai_proxy.core.token_estimate import TokenEstimate

BODY = b"x" * 400
"""100 tokens by its size."""
RULES = (
    from_table("gpt-*", {"max_tokens": 50}, {"max_completion_tokens": 700, "n": 2}),
    *from_text("model=free,max_tokens=null;model=cold,temperature=0"),
)


def estimate(rules=RULES, body=BODY, method=b"POST", **document):
    return TokenEstimate(rules)(method, body, document)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"model": "gpt-4", "max_tokens": 9000, "max_completion_tokens": 1, "n": 1}, 150),
        ({"model": "gpt-4", "max_completion_tokens": 60}, 100 + 2 * 60),
        ({"model": "gpt-4"}, 100 + 2 * 700),
        ({"model": "gpt-4", "max_completion_tokens": None, "n": None}, 150),
        ({"model": "free", "max_tokens": 9000}, 100),
        ({"model": "cold", "max_tokens": 9000}, 9100),
        ({"model": "other", "max_tokens": 9000}, 9100),
        ({"model": 5, "max_tokens": 9000}, 9100),
        ({"max_tokens": 9000}, 9100),
    ],
)
def test_what_the_configuration_sets_is_what_is_reserved(document, expected):
    """A client that asks for more than it will get waits for no more than it will get."""
    assert expected == estimate(**document)


def test_requests_without_a_document_are_estimated_as_ever():
    """Uploads and look-ups name no model in a body."""
    assert TokenEstimate(RULES)(b"POST", object(), None) == 1
    assert TokenEstimate(RULES)(b"GET", None, None) == 0


def test_the_request_itself_is_not_changed():
    """The estimate is made of a copy."""
    document = {"model": "gpt-4", "max_tokens": 9000}
    TokenEstimate(RULES)(b"POST", BODY, document)
    assert document == {"model": "gpt-4", "max_tokens": 9000}


def test_however_many_models_clients_name_few_are_remembered():
    """Names come from outside: what is kept of them has a bound."""
    estimate = TokenEstimate([ModelParams("*", {"max_tokens": 1}, glob=True)])
    for number in range(2500):
        assert estimate(b"POST", BODY, {"model": str(number)}) == 101
    assert len(estimate._merged) <= 1000
    huge = "x" * 1_000_000
    assert estimate(b"POST", BODY, {"model": huge}) == 101
    assert huge not in estimate._merged

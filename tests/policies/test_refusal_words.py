"""The messages for refused clients."""

import pytest

from openai_proxy.cost.budget import Account, Balance, Need
from openai_proxy.cost.budget_words import budget_words, dollars, period_end
from openai_proxy.exchange.errors import InvalidJSON
from openai_proxy.policies.limits.rules import Levels, Limits, Refusal
from openai_proxy.policies.limits.words import limit_words
from openai_proxy.policies.refusal_words import expiry_words, model_words, seconds
from openai_proxy.wire.request_json import read_request


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (20, "$20.00"),
        (0.0145, "$0.0145"),
        (0.5, "$0.50"),
        (0, "$0.00"),
        (0.000001, "$0.000001"),
        (1e-9, "$0.00"),
    ],
)
def test_amounts(value, expected):
    """Cents at least, and small amounts are not rounded away."""
    assert dollars(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(3.24, "3.2 s"), (60, "60.0 s"), (0.05, "0.05 s"), (0, "0.01 s")]
)
def test_waits(value, expected):
    """Never a wait of nothing."""
    assert seconds(value) == expected


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("requests", "60 requests a minute are used up; the next one in 3.2 s."),
        (
            "tokens",
            "of 500 model tokens a minute 12 are left, and this request may need 290; try again in 3.2 s.",
        ),
        ("concurrent", "8 requests of this API key run at once, which is the limit; try again in 3.2 s"),
    ],
)
def test_limits_have_numbers(kind, words):
    """Which limit, how much, and when there is room again."""
    text = limit_words(Limits(60, 500, 8), Levels(0.0, 12.7, 8), Refusal(kind, 3.2), 290.0)
    assert words in text
    assert "openai-proxy" in text


def test_a_budget_has_numbers():
    """What the request may cost, what is left, and until when."""
    text = budget_words(Account("a", "2026-11"), Need(0.02, 20.0), Balance(19.98, 0.0055))
    assert text.endswith(
        "this request may cost $0.02, of $20.00 for 2026-11 $0.0145 are left; it starts anew at 2026-12-01T00:00Z."
    )
    assert "$0.00 are left" in budget_words(Account("a", "2026-11-30"), Need(1, 2), Balance(3))


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        ("2026-11", "2026-12-01T00:00Z"),
        ("2026-12", "2027-01-01T00:00Z"),
        ("2026-02", "2026-03-01T00:00Z"),
        ("2026-12-31", "2027-01-01T00:00Z"),
        ("2028-02-28", "2028-02-29T00:00Z"),
    ],
)
def test_periods_end(period, expected):
    """Days and months in UTC."""
    assert period_end(period) == expected


def test_models_are_named():
    """The one that was asked for and those that are allowed; a key given as a model is not repeated."""
    text = model_words(["gpt-5"], ["gpt-4o-mini", "text-*"])
    assert "'gpt-5'" in text
    assert text.endswith("it may use: gpt-4o-mini, text-*.")
    assert "sk-proj-0123" not in model_words(["sk-proj-0123456789abcdef0123456789"], ["a"])
    assert "cannot read" in model_words(None, ["a"])
    assert "it may use none" in model_words(["a"], [])
    assert len(model_words(["x" * 9000], [str(number) for number in range(999)])) < 500
    assert "\n" not in model_words(["a\nb\x1b"], ["a"])


def test_expiry():
    """When."""
    assert "expired at 2020-01-31T12:00Z" in expiry_words(1580472000.0)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"model": "m", "messages": [}', "expecting value at line 1, column 29 (character 28 of it)"),
        (b'{"a": 1,\n "b" 2}', "line 2, column 6"),
        (b'\xff{"a": 1}', "byte 0 is not valid utf-8"),
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"[1]", "it is a list"),
        (b'"SECRET"', "it is text"),
        (b"17", "it is a number"),
        (b"null", "it is null"),
        (b'{"SECRET": SECRET}', "column 12"),
    ],
)
def test_the_place_of_a_json_error(body, words):
    """The position of the error, without a word of the body."""
    with pytest.raises(InvalidJSON) as caught:
        read_request(body)
    assert words in caught.value.message
    assert "SECRET" not in caught.value.message

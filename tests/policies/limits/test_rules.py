"""Judgement of a request by the levels of its key, and the headers of a refusal."""

import pytest

from openai_proxy.policies.limits.headers import format_duration, refusal_headers, retry_after_headers
from openai_proxy.policies.limits.rules import Levels, Limits, Refusal, maybe_refusal
from openai_proxy.policies.usage.estimate import reserved_model_tokens

ALL = Limits(60, 600, 2)


@pytest.mark.parametrize(
    ("levels", "reserved", "expected"),
    [
        (Levels(1.0, 10.0, 1), 10.0, None),
        (Levels(0.5, 10.0, 1), 10.0, Refusal("requests", 0.5)),
        (Levels(1.0, 5.0, 1), 10.0, Refusal("tokens", 0.5)),
        (Levels(1.0, 10.0, 2), 10.0, Refusal("concurrent", 1.0)),
        (Levels(0.5, -10.0, 2), 10.0, Refusal("requests", 2.0)),
        (Levels(1.0, -10.0, 0), 0.0, None),
    ],
)
def test_a_request_is_judged_by_every_limit(levels, reserved, expected):
    """The first limit that refuses names the error; the wait is long enough for all."""
    assert expected == maybe_refusal(ALL, levels, reserved)


def test_limits_that_are_all_off_are_false():
    """Whoever has none of them is asked nothing."""
    assert not Limits()
    assert Limits(concurrent_requests=1)


def test_a_huge_request_reserves_the_whole_bucket():
    """A request larger than the limit waits for a full bucket, not for ever."""
    assert ALL.reservation(10_000) == 600.0
    assert Limits(60).reservation(10_000) == 0.0


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, b"0s"),
        (-1, b"0s"),
        (0.0001, b"1ms"),
        (0.012, b"12ms"),
        (1.0, b"1s"),
        (8.64, b"8.64s"),
        (59.9995, b"1m0s"),
        (360, b"6m0s"),
        (3661.2, b"1h1m2s"),
    ],
)
def test_durations_are_written_as_openai_does(seconds, expected):
    """Clients parse one notation."""
    assert expected == format_duration(seconds)


@pytest.mark.parametrize(
    ("wait_s", "seconds", "ms"), [(0.0, b"1", b"1"), (0.5, b"1", b"500"), (1.0001, b"2", b"1001")]
)
def test_retry_after_is_rounded_up(wait_s, seconds, ms):
    """No client is asked to come back too early."""
    assert retry_after_headers(wait_s) == [(b"retry-after", seconds), (b"retry-after-ms", ms)]


def test_a_refusal_tells_all_limits():
    """Both buckets are described, whichever refused."""
    headers = dict(refusal_headers(ALL, Levels(0.0, -60.0, 0), Refusal("requests", 1.0)))
    assert headers[b"x-ratelimit-limit-requests"] == b"60"
    assert headers[b"x-ratelimit-remaining-requests"] == b"0"
    assert headers[b"x-ratelimit-reset-requests"] == b"1m0s"
    assert headers[b"x-ratelimit-limit-tokens"] == b"600"
    assert headers[b"x-ratelimit-remaining-tokens"] == b"0"
    assert headers[b"x-ratelimit-reset-tokens"] == b"1m6s"


@pytest.mark.parametrize(
    ("method", "body", "document", "expected"),
    [
        (b"GET", None, None, 0),
        (b"POST", None, None, 0),
        (b"POST", b"x" * 41, {}, 10),
        (b"POST", b"", None, 1),
        (b"POST", b"x" * 40, {"max_tokens": 5, "max_completion_tokens": 7}, 17),
        (b"POST", b"x" * 40, {"max_output_tokens": 5, "n": 3}, 25),
        (b"POST", b"x" * 40, {"max_tokens": "5", "n": "x"}, 10),
        (b"POST", b"x" * 40, {"max_tokens": -5, "n": -1}, 10),
        (b"POST", b"x" * 40, {"max_tokens": True}, 10),
        (b"POST", object(), None, 1),
    ],
)
def test_reservations(method, body, document, expected):
    """A request reserves a quarter of its bytes and the output it asks for."""
    assert expected == reserved_model_tokens(method, body, document)


def test_counting_tokens_uses_none():
    """No model reads the prompt."""
    assert reserved_model_tokens(b"POST", b"x" * 40, {}, "m", 10, "responses/input_tokens") == 0

"""Every row of the rules for further attempts."""

import gzip

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.exchange.upstream_errors import (
    UpstreamProtocolError,
    UpstreamTimeout,
    UpstreamTLSError,
    UpstreamUnreachable,
)
from openai_proxy.policies.routing.quota_error import error_code
from openai_proxy.policies.routing.rules import (
    RetryBudget,
    failure_reason,
    further_attempts,
    may_go_elsewhere,
    repeats_by_itself,
    says_no_retry,
    status_may_be_retried,
)
from openai_proxy.wire.backoff import backoff_s, maybe_retry_after_s, reconnect_s

KEY = [(b"Idempotency-Key", b"1")]


@pytest.mark.parametrize(
    ("error", "method", "headers", "expected"),
    [
        (UpstreamUnreachable(kind="refused", sent="no"), b"POST", [], "connect"),
        (UpstreamTimeout(kind="timeout_connect", sent="no"), b"POST", [], "connect"),
        (UpstreamUnreachable(kind="reset", sent="stale"), b"POST", [], None),
        (UpstreamUnreachable(kind="reset", sent="yes"), b"POST", [], None),
        (UpstreamUnreachable(kind="reset", sent="yes"), b"PATCH", [], None),
        (UpstreamUnreachable(kind="reset", sent="yes"), b"POST", KEY, "reset"),
        (UpstreamUnreachable(kind="reset", sent="yes"), b"GET", [], "reset"),
        (UpstreamUnreachable(kind="reset", sent="yes"), b"DELETE", [], "reset"),
        (UpstreamTimeout(kind="timeout_first_byte", sent="yes"), b"GET", KEY, None),
        (UpstreamProtocolError(kind="protocol"), b"GET", KEY, None),
        (UpstreamUnreachable(kind="truncated"), b"GET", KEY, None),
    ],
)
def test_failures(error, method, headers, expected):
    """A request goes again only if the upstream cannot have acted on it, or may act twice."""
    assert expected == failure_reason(error, method, headers)
    assert may_go_elsewhere(error, method, headers) == (expected is not None)


def test_what_cannot_heal_may_go_elsewhere():
    """An expired certificate stays expired, but another upstream has another one."""
    expired = UpstreamTLSError(kind="tls", sent="no", may_heal=False)
    assert failure_reason(expired, b"GET", KEY) is None
    assert may_go_elsewhere(expired, b"POST", [])


def test_replaced_connections_are_no_retries():
    """They cost an upstream nothing."""
    assert further_attempts([]) == 0
    assert further_attempts(["stale", "failover", "stale", "503"]) == 2


@pytest.mark.parametrize("status", [408, 409, 429, 500, 501, 502, 503, 504, 505, 520, 522, 529, 599])
def test_statuses_that_may_be_retried(status):
    """What SDKs retry is retried: all from 500 on are one class; what may have created something only after 429 and 503."""
    assert status_may_be_retried(status, True)
    assert status_may_be_retried(status, False) == (status in (429, 503))


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404, 413, 422, 499])
def test_other_statuses_are_final(status):
    """What a further attempt cannot mend passes at once."""
    assert not status_may_be_retried(status, True)


def test_an_upstream_may_forbid_a_retry():
    """`x-should-retry: false` in any case; `true` and other headers say nothing."""
    assert says_no_retry([(b"x-a", b"b"), (b"X-Should-Retry", b" False")])
    assert not says_no_retry([(b"x-should-retry", b"true"), (b"retry-after", b"false")])


def test_a_client_that_retries_is_recognised():
    """An SDK's own retries are not multiplied by ours."""
    assert repeats_by_itself([(b"X-Stainless-Retry-Count", b"0")])
    assert not repeats_by_itself([(b"x-stainless-lang", b"python")])


@given(st.integers(1, 1000), st.floats(0, 1, exclude_max=True))
def test_backoff_stays_in_its_range(attempt, jitter):
    """Full jitter: anything from nothing to the doubled base, never above 8 s."""
    most = min(8.0, 0.5 * 2 ** min(attempt - 1, 10))
    assert 0.0 <= backoff_s(attempt, jitter) <= most
    assert most / 2 <= reconnect_s(attempt, jitter) <= most


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], None),
        ([(b"Retry-After", b"2")], 2.0),
        ([(b"retry-after", b"0.5")], 0.5),
        ([(b"retry-after", b"2"), (b"Retry-After-Ms", b"1500")], 1.5),
        ([(b"retry-after", b"Thu, 01 Jan 1970 00:01:40 GMT")], 90.0),
        ([(b"retry-after", b"Thu, 01 Jan 1970 00:00:01 GMT")], 0.0),
        ([(b"retry-after", b"9" * 20)], 1e20),
        ([(b"retry-after-ms", b"9" * 400)], float("inf")),
        ([(b"retry-after", b"soon")], None),
        ([(b"retry-after", b"-1")], None),
        ([(b"retry-after", b"nan")], None),
        ([(b"retry-after", b"\xff")], None),
        ([(b"retry-after-ms", b"x"), (b"retry-after", b"3")], 3.0),
    ],
)
def test_the_asked_wait_is_read(headers, expected):
    """Milliseconds, seconds and dates are understood; nonsense asks for nothing."""
    assert expected == maybe_retry_after_s(headers, wall_time=10.0)


@given(st.binary(max_size=40))
def test_no_wait_header_crashes(value):
    """Whatever an upstream writes there is a wait or none."""
    waited = maybe_retry_after_s([(b"retry-after", value)], 0.0)
    assert waited is None or waited >= 0.0


def test_the_budget_is_a_tenth_and_at_least_ten():
    """An outage under load is answered with a tenth more, not with a multiple."""
    budget = RetryBudget()
    assert [budget.spend(0.0) for _ in range(11)] == [True] * 10 + [False]
    for _ in range(500):
        budget.note_request(5.0)
    assert sum(budget.spend(5.5) for _ in range(100)) == 40
    assert sum(budget.spend(15.0) for _ in range(100)) == 10


@given(st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=200))
def test_the_budget_holds_over_any_schedule(steps):
    """In no 10 s do further attempts exceed the larger of ten and a tenth of the requests."""
    budget, now, spent, asked = RetryBudget(), 0.0, [], []
    for pause, retry in steps:
        now += pause
        if retry:
            if budget.spend(now):
                spent.append(now)
        else:
            budget.note_request(now)
            asked.append(now)
        recent = [t for t in spent if int(t) > int(now) - 10]
        assert len(recent) <= max(10, 0.1 * len(asked) + 1)


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b'{"error":{"code":"insufficient_quota"}}', [], "insufficient_quota"),
        (b'{"error":{"code":null,"type":"slow_down"}}', [], "slow_down"),
        (b'{"error":{"code":"billing_hard_limit","type":"insufficient_quota"}}', [], "insufficient_quota"),
        (b'{"error":{"code":"","type":"exceeded_current_quota_error"}}', [], "insufficient_quota"),
        (b'{"error":{"code":"Arrearage","type":"Arrearage"}}', [], "insufficient_quota"),
        (b'{"error":{"code":"400","type":"budget_exceeded"}}', [], "insufficient_quota"),
        (b'{"error":{"code":402,"type":"insufficient_credits"}}', [], "insufficient_quota"),
        (b'{"error":{"code":"1113","message":"m"}}', [], "insufficient_quota"),
        (b'{"error":{"code":"AccountOverdueError","type":"Forbidden"}}', [], "insufficient_quota"),
        (b'{"error":{"http_code":"429","type":"insufficient_balance_error"}}', [], "insufficient_quota"),
        (b'[{"error":{"code":429,"type":"insufficient_quota"}}]', [], "insufficient_quota"),
        (b'[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}]', [], ""),
        (b'["error"]', [], ""),
        (b'{"error":{"code":["x"],"type":"y"}}', [], ""),
        (b'{"error":"x"}', [], ""),
        (b"[]", [], ""),
        (b"\xff", [], ""),
        (b"not gzip", [(b"Content-Encoding", b"gzip")], ""),
    ],
)
def test_error_codes_are_read(body, headers, expected):
    """A spent quota is recognized by the words of several providers; an unreadable one is no kind."""
    assert expected == error_code(body, headers)


QUOTA = b'{"error":{"code":"insufficient_quota"}}'


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        ([b"br"], brotli.compress(QUOTA)),
        ([b"zstd"], zstandard.ZstdCompressor().compress(QUOTA)),
        ([b"gzip"], gzip.compress(QUOTA[:9], mtime=0) + gzip.compress(QUOTA[9:], mtime=0)),
        ([b"br", b"gzip"], gzip.compress(brotli.compress(QUOTA), mtime=0)),
    ],
)
def test_a_spent_quota_is_recognized_in_any_coding(lines, body):
    """Trying again would only take longer, whatever the coding of the answer."""
    assert error_code(body, [(b"Content-Encoding", line) for line in lines]) == "insufficient_quota"

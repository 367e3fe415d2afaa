"""Whoever runs the proxy hears of a key that an upstream refuses."""

import fakes
import pytest
from twisted.logger import capturedLogs

from openai_proxy.observe.refused_keys import AGAIN_S, RefusedKeys


def ended(started=0.0, **fields):
    exchange = fakes.exchange(upstream="a", attempts=1, status=401, key="alice", **fields)
    exchange.started = started
    return exchange


def warnings(keys, *exchanges):
    with capturedLogs() as events:
        for each in exchanges:
            keys.note(each)
    return [event["log_format"].format(**event) for event in events]


def test_one_warning_for_each_upstream_and_hour():
    """It names the upstream and who met it, and no key."""
    keys = RefusedKeys(["a", "b"])
    first = warnings(keys, *(ended(at) for at in (0.0, 1.0, AGAIN_S - 1.0)))
    assert first == [
        "upstream a refuses the key that is configured for it (401, a request of alice):"
        " clients see that 401 as if their own key was wrong"
    ]
    assert len(warnings(keys, ended(AGAIN_S))) == 1
    substitute = ended(5.0, refused_keys=("b",))
    substitute.status = 500
    assert warnings(keys, substitute)[0].startswith("upstream b refuses")


@pytest.mark.parametrize(
    ("configured", "fields"),
    [([], {}), (["b"], {}), (["a"], {"error_code": "invalid_api_key"})],
)
def test_other_401s_are_the_clients(configured, fields):
    """Its own key that passed through, or one that this proxy refuses."""
    assert warnings(RefusedKeys(configured), ended(**fields)) == []


def test_a_refusal_of_ours_asks_no_upstream():
    """Then nobody refused a configured key."""
    keys = RefusedKeys(["a"])
    exchange = ended()
    exchange.attempts = 0
    assert warnings(keys, exchange) == []

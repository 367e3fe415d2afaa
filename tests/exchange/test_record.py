"""The record of an exchange: it ends once."""

import pytest

from openai_proxy.exchange.outcome import Outcome
from openai_proxy.exchange.record import Exchange
from openai_proxy.exchange.usage import Usage


def running():
    return Exchange(started=10.0, timestamp=0.0, method="POST", path="/v1/x")


def test_exchange_ends_once():
    """The first end counts; later ones change nothing and tell nobody."""
    exchange, calls = running(), []
    exchange.on_end(lambda ended: calls.append(ended.outcome))
    assert exchange.outcome is None
    assert exchange.end(Outcome.CLIENT_GONE, 12.5)
    assert not exchange.end(Outcome.COMPLETE, 13.0)
    assert (exchange.outcome, exchange.duration_s, calls) == (Outcome.CLIENT_GONE, 2.5, [Outcome.CLIENT_GONE])


def test_callbacks_run_in_order():
    """What is freed first was taken first."""
    exchange, calls = running(), []
    for number in range(3):
        exchange.on_end(lambda _, number=number: calls.append(number))
    exchange.end(Outcome.COMPLETE, 11.0)
    assert calls == [0, 1, 2]


def test_times_of_a_running_exchange():
    """Nothing is known before it happens."""
    exchange = running()
    assert (exchange.duration_s, exchange.first_byte_s) == (0.0, None)
    exchange.first_byte_at = 10.25
    assert exchange.first_byte_s == 0.25


def test_id_is_made_once_and_is_nobody_elses():
    """The id leads from the client's error to the log."""
    one, other = running(), running()
    assert one.id == one.id
    assert one.id != other.id
    assert one.id.startswith("proxy-")
    assert len(one.id) == len("proxy-") + 16


def test_total_of_a_usage():
    """Cached and reasoning tokens are parts, not further ones."""
    assert Usage(5, 7, cached_tokens=3, reasoning_tokens=2).total_tokens == 12


@pytest.mark.parametrize("note", [Exchange.note_error, Exchange.note_later_error])
def test_the_error_with_which_a_budget_cuts_a_stream_is_none_of_the_upstream(note):
    """The stages that look for errors in the stream see it too."""
    exchange = Exchange(0.0, 0.0, "POST", "/v1/x")
    exchange.rate_limited = "budget"
    note(exchange, "insufficient_quota")
    exchange.end(Outcome.LIMIT, 1.0)
    assert (exchange.outcome, exchange.upstream_failure, exchange.upstream_error_kinds) == (
        Outcome.LIMIT,
        None,
        [],
    )

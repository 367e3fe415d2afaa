"""The bill of `openai-proxy run -- COMMAND`."""

import fakes
import pytest

from openai_proxy.daemon.bill import Bill
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.exchange.record import Exchange
from openai_proxy.exchange.usage import Usage


def exchange(outcome=Outcome.COMPLETE, **fields):
    """Return an ended exchange with the API."""
    made = fakes.exchange(path="/v1/chat/completions", endpoint="chat/completions", **fields)
    made.end(outcome, 1.0)
    return made


def bill(*exchanges):
    """Return the line after these exchanges."""
    made = Bill()
    for each in exchanges:
        made({"exchange": each})
    return made.line()


PAID = {"usage": Usage(1200, 30), "cost_usd": 0.5}


@pytest.mark.parametrize(
    ("exchanges", "line"),
    [
        ([], "0 requests, 0 tokens in, 0 out, $0.0000"),
        ([exchange(**PAID)], "1 request, 1,200 tokens in, 30 out, $0.5000"),
        ([exchange(usage=Usage(1, 2), cost_usd=0.0000321)], "1 request, 1 tokens in, 2 out, $0.000032"),
        (
            [exchange(usage=Usage(1, 2)), exchange(usage=Usage(1, 2))],
            "2 requests, 2 tokens in, 4 out, cost unknown for 2 requests",
        ),
        (
            [exchange(**PAID), exchange(usage=Usage(1, 2))],
            "2 requests, 1,201 tokens in, 32 out, $0.5000 and unknown for 1 request",
        ),
        (
            [exchange(**PAID), exchange(cached=True, **PAID), exchange(Outcome.LIMIT)],
            "3 requests (1 from the cache, 1 refused), 1,200 tokens in, 30 out, $0.5000",
        ),
    ],
)
def test_the_bill_adds_up(exchanges, line):
    """What is not known is said, and never counted as nothing."""
    assert bill(*exchanges) == line


def test_pages_of_our_own_cost_nothing():
    """A health check is no request to the API."""
    page = Exchange(0.0, 0.0, "GET", "/health")
    page.end(Outcome.COMPLETE, 1.0)
    assert bill(page) == "0 requests, 0 tokens in, 0 out, $0.0000"


def test_streams_are_asked_for_their_usage():
    """Or most programs' bills would say nothing."""
    assert Bill.needs_usage

"""The report for the holder of a key."""

import fakes
import pytest
from fakes import result_of
from twisted.internet.task import Clock

from openai_proxy.cost.build import Spending
from openai_proxy.cost.totals import UsageTotals
from openai_proxy.daemon.key_store.owner import KeyReport
from openai_proxy.exchange.access_errors import AddressNotAllowed, ExpiredKey, InvalidKey, MissingCredentials
from openai_proxy.exchange.errors import RequestLimitReached
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.exchange.usage import Usage
from openai_proxy.policies.authenticate.build import make_keyring
from openai_proxy.policies.limits.embedded import EmbeddedStore
from openai_proxy.policies.limits.rules import Limits
from openai_proxy.settings import load_settings

NOW = 1_800_000_000.0
ALICE = [(b"Authorization", b"Bearer sk-alice")]

CONFIG = """
[[keys]]
name = "alice"
key = "sk-alice"
models = ["gpt-*"]
limits = { requests_per_minute = 10, concurrent_requests = 2 }
[[keys]]
name = "bob"
key = "sk-bob"
addresses = ["10.0.0.0/8"]
[[keys]]
name = "old"
key = "sk-old"
expires = 2020-01-01
"""


class Reports:
    """Reports over a configuration with three keys."""

    def __init__(self, directory):
        (directory / "c.toml").write_text(CONFIG)
        environ = {"OPENAI_API_KEY": "sk-upstream", "OPENAI_PROXY_CONFIG": "c.toml"}
        settings = load_settings({}, environ, directory)
        keyring = make_keyring(settings)
        self.totals = UsageTotals(Clock())
        self.clock = Clock()
        self.levels = EmbeddedStore(self.clock.seconds)
        self.report = KeyReport(
            lambda: settings,
            lambda: keyring,
            Spending,
            self.totals,
            lambda: self.levels,
            EmbeddedStore(self.clock.seconds),
            lambda: NOW,
        )

    def ask(self, headers=(), address="10.1.2.3", days=30):
        """Return the document, or raise."""
        return result_of(self.report.answer(list(headers), address, days))

    def use(self, key, days_ago=0, model="gpt-5"):
        ended = fakes.exchange(
            timestamp=NOW - days_ago * 86400, endpoint="chat/completions", key=key, model=model
        )
        ended.usage, ended.cost_usd, ended.status, ended.outcome = Usage(10, 5), 0.25, 200, Outcome.COMPLETE
        self.totals({"exchange": ended})


@pytest.fixture
def reports(tmp_path):
    return Reports(tmp_path)


def test_an_owner_sees_the_own_key_only(reports):
    """Rules, limits and use; nothing of another key."""
    reports.use("alice")
    reports.use("alice", days_ago=2)
    reports.use("bob")
    found = reports.ask(ALICE, days=2)
    assert (found["name"], found["models"], found["endpoints"]) == ("alice", ["gpt-*"], ["@metered"])
    assert found["usage"] == [
        {
            "day": "2027-01-15",
            "model": "gpt-5",
            "requests": 1,
            "input_tokens": 10,
            "output_tokens": 5,
            "cached_tokens": 0,
            "cost_usd": 0.25,
        }
    ]
    assert len(reports.ask(ALICE)["usage"]) == 2
    assert found["budgets"] == []


def test_limits_are_looked_at_and_not_charged(reports):
    """Asking takes nothing from what is left."""
    limits = Limits(10, None, 2)
    for _ in range(2):
        reports.levels.decide("alice", limits, 0.0)
    expected = {
        "requests": {"limit": 10, "remaining": 8, "reset_s": 12.0},
        "tokens": None,
        "concurrent": {"limit": 2, "remaining": 0, "reset_s": None},
    }
    assert reports.ask(ALICE)["limits"] == expected
    assert reports.ask(ALICE)["limits"] == expected


@pytest.mark.parametrize(
    ("headers", "address", "error"),
    [
        ([], "10.1.2.3", MissingCredentials),
        ([(b"Authorization", b"Bearer sk-nobody")], "10.1.2.3", InvalidKey),
        ([(b"Authorization", b"Bearer sk-old")], "10.1.2.3", ExpiredKey),
        ([(b"api-key", b"sk-bob")], "192.0.2.1", AddressNotAllowed),
        ([(b"api-key", b"sk-bob")], None, AddressNotAllowed),
    ],
)
def test_who_may_not_call_learns_nothing(reports, headers, address, error):
    """As the API refuses it."""
    with pytest.raises(error):
        reports.ask(headers, address)


def test_it_answers_sixty_times_a_minute(reports):
    """By key; and again when time has passed."""
    for _ in range(60):
        reports.ask(ALICE)
    with pytest.raises(RequestLimitReached, match="60 times"):
        reports.ask(ALICE)
    reports.ask([(b"api-key", b"sk-bob")])
    reports.clock.advance(1.1)
    reports.ask(ALICE)

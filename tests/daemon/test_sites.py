"""The sites of a process, when a reload or changed keys replace what they use."""

from types import SimpleNamespace

import fakes
from twisted.internet.task import Clock

from openai_proxy.daemon.sites import Sites
from openai_proxy.downstream.contract import DownstreamLimits
from openai_proxy.exchange.outcome import Outcome
from openai_proxy.settings import load_settings
from openai_proxy.wire.web_origins import WebOrigins


class Noted:
    """An exchanger and a publisher that note who did what at the end of an exchange."""

    def __init__(self, name, directory, done, *, is_priced=True):
        def note(what):
            return lambda exchange: done.append(f"{name} {what}")

        self.settings = load_settings({}, {}, directory)
        self.forward = self.preflight = fakes.Recorder()
        self.limits, self.web_origins, self.turns, self.agent = DownstreamLimits(), WebOrigins(), None, None
        pricing = SimpleNamespace(settle=note("charges"))
        self.spending = SimpleNamespace(pricing=pricing if is_priced else None)
        self.refused_keys = SimpleNamespace(note=note("looks for refused keys"))
        self.is_synchronous = self.may_refuse = False
        self.capture_limit_bytes = None
        self.ending = note("publishes")


def sites_of(first):
    status = SimpleNamespace(put_pages=lambda root, **how: None)
    return Sites(Clock(), lambda: 0.0, status, first, first, lambda transport: None, 0)


def ended(site, done):
    """Return what was done, in order, at the end of an exchange."""
    done.clear()
    site.end_exchange(fakes.exchange(), Outcome.COMPLETE)
    return list(done)


def test_an_exchange_is_charged_before_it_is_published(tmp_path):
    """An observer shows what it cost."""
    done = []
    sites = sites_of(Noted("first", tmp_path, done))
    expected = ["first charges", "first looks for refused keys", "first publishes"]
    assert ended(sites.main, done) == expected


def test_new_parts_follow_the_end_of_an_exchange(tmp_path):
    """Changed keys bring other prices, a reload brings other observers too."""
    done = []
    sites = sites_of(Noted("first", tmp_path, done))
    sites.use_stages(Noted("keys", tmp_path, done))
    assert ended(sites.main, done) == ["keys charges", "keys looks for refused keys", "first publishes"]
    sites.watch(Noted("reload", tmp_path, done))
    assert ended(sites.main, done)[-1] == "reload publishes"
    sites.use_stages(Noted("unpriced", tmp_path, done, is_priced=False))
    assert ended(sites.main, done) == ["unpriced looks for refused keys", "reload publishes"]

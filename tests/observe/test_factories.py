"""Specs become observers, or stop the start with one clear line."""

import pytest
from twisted.internet.task import Clock
from twisted.logger import Logger, formatEvent

from openai_proxy.exchange.outcome import Outcome
from openai_proxy.exchange.record import Exchange
from openai_proxy.observe import factories
from openai_proxy.observe.factories import build_observers, with_console
from openai_proxy.observe.interfaces import IObserverFactory, ObserverContext
from openai_proxy.observe.lines.console import LineObserver
from openai_proxy.observe.lines.json_lines import JSONFileObserver
from openai_proxy.observe.lines.text_log import RefusalLogObserver, TextLogObserver

KNOWN = {each.name: each for each in (factories.console, factories.json_lines, factories.text_log)}


def build(*specs):
    return build_observers(specs, ObserverContext(Clock()), KNOWN)


def test_each_spec_makes_an_observer_once(tmp_path):
    """The same spec twice writes each line once."""
    made = build("console", f"json:file={tmp_path}/a", "console", "log", "json:-")
    assert [type(each) for each in made] == [LineObserver, JSONFileObserver, TextLogObserver, LineObserver]
    assert list(tmp_path.iterdir()) == []


def test_none_turns_off():
    """`none` leaves nothing of what was named before it but the log of our own errors."""
    assert [type(each) for each in build("none")] == [RefusalLogObserver]
    assert [type(each) for each in build("console", "none")] == [RefusalLogObserver]
    assert len(build("none", "log")) == 1


def test_own_errors_are_always_logged(tmp_path):
    """The `x-request-id` of an error that this proxy made is found in the log whatever observes the rest."""
    for spec in ("console", "log", "json:-"):
        assert not any(isinstance(each, RefusalLogObserver) for each in build(spec))
    assert isinstance(build(f"json:file={tmp_path}/a")[-1], RefusalLogObserver)
    events = []
    observer = RefusalLogObserver(Logger("test", observer=events.append))
    for code in (None, "unknown_url"):
        exchange = Exchange(started=1.0, timestamp=1700000000.0, method="GET", path="/nope")
        exchange.error_code = code
        exchange.end(Outcome.REJECTED, 2.0)
        observer({"exchange": exchange})
    assert [exchange.id in formatEvent(event) for event in events] == [True]


@pytest.mark.parametrize(
    "spec",
    [
        "nosuch",
        "json",
        "json:file=/nonexistent/dir/x",
        "json:file=/tmp",
        "json:file=",
        "json:nonsense",
        "json:fiel=x",
        "console:a=b",
        "console:x",
        "log:x=1",
        "none:x",
        "none:x=1",
        "",
    ],
)
def test_bad_spec_is_one_line(spec):
    """A spec that cannot work is reported in one line that says observer."""
    with pytest.raises(ValueError) as caught:
        build(spec)
    message = str(caught.value)
    assert "observer" in message
    assert "\n" not in message


def test_unknown_name_lists_the_known():
    """A typing error shows what there is."""
    with pytest.raises(ValueError, match="console, json, log, none"):
        build("consle")


def test_a_broken_plugin_is_one_line():
    """Whatever a stranger's factory raises stops the start with a line that names it."""

    def fail(options):
        raise KeyError("sk-secret")

    available = {"theirs": factories.Factory("theirs", "theirs", fail)}
    with pytest.raises(ValueError, match=r"^observer theirs: its plugin failed with KeyError$"):
        build_observers(["theirs"], ObserverContext(Clock()), available)


def test_factories_provide_the_interface():
    """What we ship is what we ask of others."""
    assert all(IObserverFactory.providedBy(each) for each in KNOWN.values())


def test_log_observer_writes_through_twisted_logger():
    """`log` puts the console's line into twistd's log."""
    events = []
    observer = TextLogObserver(Logger("test", observer=events.append))
    exchange = Exchange(started=1.0, timestamp=1700000000.0, method="GET", path="/v1/{models}")
    exchange.end(Outcome.COMPLETE, 2.0)
    observer({"exchange": exchange})
    assert "GET /v1/{models}" in formatEvent(events[0])


def test_prometheus_is_always_on():
    """The metrics page works whatever else is turned off."""
    available = {**KNOWN, "prometheus": factories.prometheus}
    for specs in ([], ["none"], ["prometheus"]):
        made = build_observers(specs, ObserverContext(Clock()), available)
        assert type(made[0]).__name__ == "PrometheusObserver"


def test_metrics_go_on_after_a_reload():
    """Building the observers anew does not set the counters back."""
    available = {**KNOWN, "prometheus": factories.prometheus}
    context = ObserverContext(Clock())
    before = build_observers(["log"], context, available)
    after = build_observers(["console"], context, available, running=before)
    assert after[-1] is before[-1]
    assert type(after[0]) is LineObserver


@pytest.mark.parametrize(
    ("specs", "expected"),
    [
        ([], ["console"]),
        (["exchange-log:dir=logs"], ["console", "exchange-log:dir=logs"]),
        (["console", "otel"], ["console", "otel"]),
        (["json:-"], ["json:-"]),
        (["log", "otel"], ["log", "otel"]),
        (["json:file=x"], ["console", "json:file=x"]),
        (["none", "otel"], ["console", "none", "otel"]),
    ],
)
def test_the_console_stays_on_beside_others(specs, expected):
    """Whoever adds a log of exchanges still sees that something happens; `none` drops what is before it."""
    assert with_console(specs) == expected

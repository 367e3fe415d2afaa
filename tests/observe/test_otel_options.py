"""The parameters of `otel:...` and what they become."""

import sys

import pytest
from twisted.internet.task import Clock

from openai_proxy.observe import factories
from openai_proxy.observe.factories import build_observers
from openai_proxy.observe.interfaces import ObserverContext
from openai_proxy.observe.otel.observer import OtelObserver
from openai_proxy.observe.otel.options import parse_headers

KNOWN = {"otel": factories.otel}


def build(spec, **context):
    return build_observers([spec], ObserverContext(Clock(), **context), KNOWN)


@pytest.mark.parametrize(
    "spec",
    [
        "otel",
        "otel:endpoint=http://localhost:4318",
        "otel:endpoint=https://collector.example/base/v1/traces:service_name=me",
        "otel:endpoint=http://[::1]:4318/",
    ],
)
def test_good_specs(spec):
    """The collector's base URL, with a port or not, also with a signal's path after it."""
    assert type(build(spec)[0]) is OtelObserver


@pytest.mark.parametrize(
    "spec",
    [
        "otel:endpoint=",
        "otel:endpoint=ftp://secret-place",
        "otel:endpoint=secret-place:4318",
        "otel:endpoint=http://user:secret-place@host",
        "otel:endpoint=http://host/?x=secret-place",
        "otel:endpoint=http://host:99999/secret-place",
        "otel:endpoint=http://host/secret-place x",
        "otel:http://host/secret-place",
        "otel:headers=secret-place",
    ],
)
def test_bad_specs_are_told_without_their_text(spec):
    """One line says what is allowed; what may be a key is not repeated."""
    with pytest.raises(ValueError) as caught:
        build(spec)
    assert "secret-place" not in str(caught.value)
    assert str(caught.value).startswith("observer otel: ")


def test_headers_are_read_as_the_sdk_reads_them():
    """Comma-separated pairs with percent-encoded values."""
    assert parse_headers("") == {}
    assert parse_headers("Authorization=Basic%20abc==, x-a = b ,") == {
        "authorization": "Basic abc==",
        "x-a": "b",
    }


@pytest.mark.parametrize("text", ["secret", "a b=secret", "=secret", "a=%0d%0aB: secret"])
def test_bad_headers_stop_the_start(text):
    """Nothing of a malformed secret is shown, and no header can be smuggled in."""
    with pytest.raises(ValueError) as caught:
        build("otel", otlp_headers=text)
    assert "secret" not in str(caught.value)


def test_a_missing_extra_is_named(monkeypatch):
    """Without the SDK the start says what to install."""
    monkeypatch.setitem(sys.modules, "openai_proxy.observe.otel.sdk", None)
    with pytest.raises(ValueError) as caught:
        build("otel")
    assert "twisted-openai-proxy[otel]" in str(caught.value)

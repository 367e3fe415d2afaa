"""Endpoint strings are tried before anything listens."""

import pytest
from twisted.internet.testing import MemoryReactorClock

from openai_proxy.settings import SettingsError, check_endpoints, load_settings


@pytest.mark.parametrize("port", ["8080", "tcp:0", "tcp6:8080", "unix:/run/p.sock", "haproxy:tcp:8080"])
def test_usable(tmp_path, port):
    """What Twisted understands is taken, a bare number too."""
    check_endpoints(MemoryReactorClock(), load_settings({"ports": [port]}, {}, tmp_path))


@pytest.mark.parametrize(
    "port",
    ["nonsense:1", "tcp:x", "ssl:0:privateKey=/nonexistent.pem", "tcp", ":", "systemd:domain=INET:index=9"],
)
def test_broken(tmp_path, port):
    """What it does not is one line with the setting's name."""
    with pytest.raises(SettingsError, match=r"^ports \(from --port\): .*is no usable endpoint: .") as caught:
        check_endpoints(MemoryReactorClock(), load_settings({"ports": [port]}, {}, tmp_path))
    assert "\n" not in str(caught.value)


def test_unknown_argument_is_named_in_words(tmp_path):
    """Twisted's own words name functions of its own."""
    with pytest.raises(SettingsError, match=r"usable endpoint: it takes no argument 'foo'$"):
        check_endpoints(MemoryReactorClock(), load_settings({"ports": ["tcp:1:foo=2"]}, {}, tmp_path))


def test_admin_port_is_tried_too(tmp_path):
    """The operator's endpoint is checked like the others."""
    with pytest.raises(SettingsError, match=r"^admin\.port "):
        check_endpoints(MemoryReactorClock(), load_settings({}, {"ADMIN__PORT": "nonsense:1"}, tmp_path))

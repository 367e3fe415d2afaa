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


@pytest.mark.parametrize(
    ("port", "reason"),
    [
        ("tcp:1:foo=2", "it takes no argument 'foo'"),
        ("tcp", "its 'port' is missing"),
        ("haproxy:tcp6", "its 'port' is missing"),
        ("tcp:http", "'http' is no number"),
        ("unix:", "its path is empty"),
        ("unix::mode=600", "its path is empty"),
        ("haproxy:unix:address=", "its path is empty"),
        ("unix:/a:mode=rw", "'rw' is no number"),
        ("tcp6:80:interface=::1", r"it has too many values (a colon within a value is written '\:')"),
        ("tcp:1:2:3:4:5", r"it has too many values (a colon within a value is written '\:')"),
        ("ssl:8443", "No such file or directory: server.pem"),
    ],
)
def test_what_is_wrong_is_said_in_words(tmp_path, port, reason):
    """Twisted's own words name functions of its own; `ssl:8443` was taken for a host called ssl."""
    with pytest.raises(SettingsError) as caught:
        check_endpoints(MemoryReactorClock(), load_settings({"ports": [port]}, {}, tmp_path))
    assert str(caught.value).endswith(f"is no usable endpoint: {reason}")


def test_admin_port_is_tried_too(tmp_path):
    """The operator's endpoint is checked like the others."""
    with pytest.raises(SettingsError, match=r"^admin\.port "):
        check_endpoints(MemoryReactorClock(), load_settings({}, {"ADMIN__PORT": "nonsense:1"}, tmp_path))

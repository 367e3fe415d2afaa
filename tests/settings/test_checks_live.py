"""What the live view may keep depends on who can reach the proxy."""

import pytest

from openai_proxy.settings import SettingsError, load_settings
from openai_proxy.settings.endpoint_hints import is_loopback_endpoint


@pytest.mark.parametrize(
    ("endpoint", "is_local"),
    [
        ("tcp:8080:interface=127.0.0.1", True),
        ("tcp:8080:backlog=5:interface=localhost", True),
        (r"tcp6:8080:interface=\:\:1", True),
        ("unix:/run/p.sock", True),
        ("ssl:8443:interface=127.1.2.3:privateKey=k.pem", True),
        ("tcp:8080", False),
        ("tcp:8080:interface=0.0.0.0", False),
        ("tcp:8080:interface=127.0.0.1.example.com", False),
        (r"tcp6:8080:interface=\:\:", False),
        ("systemd:domain=INET:index=0", False),
        ("haproxy:tcp:8080:interface=127.0.0.1", False),
    ],
)
def test_only_what_surely_opens_nothing_to_a_network_is_local(endpoint, is_local):
    """A socket that another program opened may be public; so may clients behind a proxy."""
    assert is_loopback_endpoint(endpoint) is is_local


@pytest.mark.parametrize(
    ("port", "environ", "starts"),
    [
        ("tcp:0", {}, False),
        ("tcp:0", {"ADMIN__TOKEN": "secret"}, True),
        ("tcp:0:interface=127.0.0.1", {}, True),
        ("tcp:0", {"LIVE__CAPTURE_BYTES": "0"}, True),
    ],
)
def test_whole_conversations_are_not_kept_at_a_port_that_is_open_without_a_token(
    tmp_path, port, environ, starts
):
    """One slip of the gate would show them to a network."""
    values = {"PORTS": port, "LIVE__CAPTURE_BYTES": "1000", "OPENAI_API_KEY": "k", **environ}
    if starts:
        assert load_settings({}, values, tmp_path).live.capture_bytes == int(values["LIVE__CAPTURE_BYTES"])
    else:
        with pytest.raises(SettingsError, match=r"live\.capture_bytes .*listens beyond this machine"):
            load_settings({}, values, tmp_path)

"""TLS at a plain port and plain HTTP at a TLS port are named in the log."""

import ssl

import pytest
from fakes import Downstream
from logged import log_lines
from twisted.python.failure import Failure

HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x0a" * 500


@pytest.fixture
def lines():
    with log_lines() as lines:
        yield lines


@pytest.mark.parametrize("size", [1, 1000])
def test_a_tls_handshake_at_a_plain_port(lines, size):
    """It was `- - - - 400 malformed_request`."""
    downstream = Downstream()
    answer = downstream.connect().send(*[HELLO[at : at + size] for at in range(0, len(HELLO), size)])
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"TLS handshake" in answer
    assert b"malformed_request" in answer
    (line,) = [line for line in lines if "TLS" in line]
    assert line.startswith("1 TLS handshakes at a port that speaks plain HTTP")
    downstream.connect().send(HELLO)
    assert len([line for line in lines if "TLS" in line]) == 1  # strangers choose how often


@pytest.mark.parametrize(
    ("reason", "warnings"),
    [("http request", 1), ("https proxy request", 1), ("no shared cipher", 0), ("certificate unknown", 0)],
)
def test_plain_http_at_a_tls_port(lines, reason, warnings):
    """Nothing said that somebody had tried."""
    downstream = Downstream()
    connection = downstream.connect()
    connection.channel.connectionLost(Failure(ssl.SSLError(1, f"[SSL] {reason} (_ssl.c:1006)")))
    assert (
        len([line for line in lines if "plain HTTP requests at a port that speaks TLS" in line]) == warnings
    )


def test_an_error_of_tls_without_words_is_nothing_to_tell(lines):
    """A peer that went away in the handshake is one."""
    connection = Downstream().connect()
    connection.channel.connectionLost(Failure(ssl.SSLError()))
    assert not [line for line in lines if "speaks" in line]

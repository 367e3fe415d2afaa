"""Addresses of Redis servers."""

import pytest

from openai_proxy.net.redis_url import RedisAddress, parse_redis_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", RedisAddress("h")),
        ("redis://h:7000/2", RedisAddress("h", 7000, db=2)),
        ("rediss://h/", RedisAddress("h", tls=True)),
        ("redis://:p%40ss@h:1", RedisAddress("h", 1, password="p@ss")),
        ("redis://u:p@[::1]:1/0", RedisAddress("::1", 1, db=0, username="u", password="p")),
    ],
)
def test_urls_are_read(url, expected):
    """Host, port, database, login and TLS come from the URL."""
    assert expected == parse_redis_url(url)


@pytest.mark.parametrize(
    "url",
    ["", "http://h", "redis://", "redis://:secret@h:x", "redis://:secret@h/x", "redis://:secret@h?db=1"],
)
def test_bad_urls_are_refused_without_showing_them(url):
    """A mistyped URL stops the start, and its password stays out of the message."""
    with pytest.raises(ValueError) as raised:
        parse_redis_url(url)
    assert "secret" not in str(raised.value)


def test_an_address_prints_without_its_password():
    """Logs name the server, never the login."""
    address = parse_redis_url("redis://u:secret@h/1")
    assert str(address) == "redis://h:6379/1"
    assert "secret" not in repr(address)

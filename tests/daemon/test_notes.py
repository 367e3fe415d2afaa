"""What the log says at the start of what is on, and what to try next."""

import pytest

from openai_proxy.daemon.notes import next_step, on_notes
from openai_proxy.settings import load_settings

ADDRESSES = ["http://0.0.0.0:8080"]
URL = "http://127.0.0.1:8080/v1"


def notes(directory, **environ):
    return list(on_notes(load_settings({}, environ, directory)))


def test_nothing_is_said_of_what_is_off(tmp_path):
    """A plain start stays short."""
    assert notes(tmp_path) == []


def test_what_is_on(tmp_path):
    """One line each, with absolute paths."""
    assert notes(
        tmp_path,
        CACHE__URL="memory:",
        RATE_LIMIT__REQUESTS_PER_MINUTE="60",
        RATE_LIMIT__TOKENS_PER_MINUTE="100000",
        RATE_LIMIT__CONCURRENT_REQUESTS="8",
        OBSERVERS="console exchange-log:dir=logs",
        STORAGE_TYPE="local",
        LOCAL_LOG_DIR="other",
        COST__STATE_FILE="state.sqlite3",
    ) == [
        "cache: memory: up to 64 MiB",
        "limits of each key: 60 requests a minute, 100,000 tokens a minute, 8 requests at once",
        f"exchange log: {tmp_path}/logs",
        f"exchange log: {tmp_path}/other",
        f"state file: {tmp_path}/state.sqlite3",
    ]


def test_no_secret_is_shown(tmp_path):
    """Passwords of Redis and keys of stores are masked."""
    said = notes(
        tmp_path,
        CACHE__URL="redis://:CANARY@h:6379/0",
        OBSERVERS="exchange-log:url=az\\://logs:account_name=a:account_key=CANARY",
    )
    assert said[0] == "cache: redis://[redacted]@h:6379/0"
    assert said[1].startswith("exchange log: exchange-log:url=az")
    assert "CANARY" not in " ".join(said)


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({}, f"for your programs: OPENAI_BASE_URL={URL} OPENAI_API_KEY=(their own)"),
        ({"OPENAI_API_KEY": "CANARY"}, f"for your programs: OPENAI_BASE_URL={URL} OPENAI_API_KEY=anything"),
        (
            {"OPENAI_API_KEY": "CANARY", "CLIENT_API_KEYS": "k"},
            f"for your programs: OPENAI_BASE_URL={URL} OPENAI_API_KEY=(a client key)",
        ),
        ({"OPENAI_API_BASE": "mock:"}, f"try: curl {URL}/chat/completions "),
    ],
)
def test_the_next_step(tmp_path, environ, line):
    """It can be typed as it stands, or nearly."""
    said = next_step(load_settings({}, environ, tmp_path), ADDRESSES)
    assert said.startswith(line)
    assert "CANARY" not in said


def test_no_next_step_without_a_tcp_port(tmp_path):
    """A client of HTTP cannot use a socket's path as its base URL."""
    assert next_step(load_settings({}, {}, tmp_path), ["unix:/run/p.sock"]) is None

"""`openai-proxy top --once`, `cancel` and `usage` at a proxy whose answers are written here."""

import json

import pytest
from world.command import run
from world.scripted_proxy import ended, row, scripted_proxy

EXCHANGES = {"exchanges": [ended("proxy-2"), row("proxy-1", model="a\x1b[2J")], "in_flight": 1}
NOT_FOUND = {"error": {"message": "No exchange", "code": "exchange_not_found", "param": None}}
NO_TOKEN = {
    "error": {"message": "This page needs the admin token.", "code": "missing_credentials", "param": None}
}
USED = {"requests": 1, "input_tokens": 1000, "output_tokens": 20, "cost_usd": 0.004}
OWN = {
    "name": "carol",
    "group": "dev",
    "expires": "2030-01-31T00:00Z",
    "models": None,
    "endpoints": ["@metered"],
    "limits": {"requests": {"limit": 60, "remaining": 59, "reset_s": 1.0}, "tokens": None},
    "budgets": [
        {
            "of": "group",
            "name": "dev",
            "period": "2026-11",
            "budget_usd": 20.0,
            "spent_usd": 1.5,
            "reserved_usd": 0.0,
            "remaining_usd": 18.5,
            "resets_at": "2026-12-01T00:00Z",
        }
    ],
    "usage": [{"day": "2026-11-30", "model": "gpt-4o", **USED}, {"day": "2026-11-29", "model": None, **USED}],
}
ALL = {
    "since": "2026-11-30",
    "data": [{"day": "2026-11-30", "key": "carol", "model": "gpt-4o", **USED}],
    "budgets": [
        {
            "key": "carol",
            "period": "2026-11",
            "budget_usd": 5.0,
            "spent_usd": 5.0,
            "reserved_usd": 0,
            "remaining_usd": 0,
        }
    ],
}


@pytest.fixture
def proxy(monkeypatch):
    """A proxy that wants a token, which the environment has."""
    with scripted_proxy() as server:
        monkeypatch.setenv("OPENAI_PROXY_URL", server.url)
        monkeypatch.setenv("OPENAI_PROXY_ADMIN_TOKEN", "secret")
        yield server


def test_top_prints_lines_where_there_is_no_terminal(capsys, proxy):
    """What runs first; the token goes along."""
    proxy.answers = [(200, EXCHANGES)]
    status, out, _ = run(capsys, "top")
    lines = out.splitlines()
    assert (status, lines[0], lines[2].split()[:2]) == (0, "1 in flight", ["AGE", "STATE"])
    assert [line.split()[-1] for line in lines[3:]] == ["proxy-1", "proxy-2"]
    assert "\x1b" not in out
    assert proxy.asked == [("GET", "/admin/exchanges?limit=1000", "Bearer secret")]


def test_top_as_json_is_what_the_page_says(capsys, proxy):
    """For jq."""
    proxy.answers = [(200, EXCHANGES)]
    assert json.loads(run(capsys, "top", "--json")[1]) == EXCHANGES


def test_cancel_says_what_became_of_each(capsys, proxy):
    """1 if one was not there; the others are cancelled all the same."""
    proxy.answers = [(404, NOT_FOUND), (202, {"id": "b/c", "state": "cancelling"})]
    assert run(capsys, "cancel", "a", "b/c") == (1, "b/c is cancelled\n", "openai-proxy: a does not run\n")
    proxy.answers = [(202, {"id": "d", "state": "cancelling"})]
    assert run(capsys, "cancel", "--json", "d") == (0, '{"id": "d", "state": "cancelling"}\n', "")
    assert [each[:2] for each in proxy.asked] == [
        ("DELETE", "/admin/exchanges/a"),
        ("DELETE", "/admin/exchanges/b%2Fc"),
        ("DELETE", "/admin/exchanges/d"),
    ]


@pytest.mark.parametrize("command", [["top"], ["top", "--json"], ["cancel", "x"], ["usage", "--all"]])
def test_how_they_fail(capsys, proxy, command, tmp_path):
    """3 if nothing answers, 4 if it is not allowed, 1 for the rest, each in one line."""
    for status, document, code in ((401, NO_TOKEN, 4), (403, NO_TOKEN, 4), (503, None, 1), (404, None, 1)):
        proxy.answers = [(status, document)]
        failed, out, errors = run(capsys, *command)
        assert (failed, out, errors.count("\n")) == (code, "", 1)
    for address in (["--url", "http://127.0.0.1:1"], ["--socket", str(tmp_path / "none")]):
        failed, _, errors = run(capsys, *command, *address)
        assert (failed, errors.count("\n")) == (3, 1)
        assert "does not answer" in errors
    assert run(capsys, *command, "--url", "ftp://x")[0] == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["cancel"],
        ["top", "x"],
        ["top", "--url", "http://x", "--socket", "y"],
        ["usage", "--all", "--days", "3"],
        ["usage", "--from", "2026-11-01"],
        ["usage"],
    ],
)
def test_a_wrong_command_line_is_2(capsys, monkeypatch, arguments):
    """In one line."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    status, out, errors = run(capsys, *arguments)
    assert (status, out, errors.count("\n")) == (2, "", 1)


def test_the_socket_of_the_admin_port(capsys, tmp_path, monkeypatch):
    """It needs no token: who may open it is the operator."""
    monkeypatch.delenv("OPENAI_PROXY_ADMIN_TOKEN", raising=False)
    with scripted_proxy(tmp_path / "admin.sock") as server:
        server.answers = [(200, EXCHANGES), (202, {"id": "x", "state": "cancelling"}), (200, ALL)]
        for command in (["top"], ["cancel", "x"], ["usage", "--all"]):
            assert run(capsys, *command, "--socket", str(tmp_path / "admin.sock"))[0] == 0
    assert [token for _, _, token in server.asked] == [None] * 3


def test_the_usage_of_ones_own_key(capsys, proxy, monkeypatch):
    """With the two variables that every program has; the admin token stays here."""
    monkeypatch.setenv("OPENAI_BASE_URL", f"{proxy.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-proxy-carol")
    monkeypatch.setenv("OPENAI_PROXY_URL", "http://127.0.0.1:1")
    proxy.answers = [(200, OWN), (200, OWN)]
    assert run(capsys, "usage") == (
        0,
        "carol of dev, until 2030-01-31T00:00Z\n"
        "endpoints: @metered\n"
        "60 requests a minute, 59 left\n"
        "budget of group dev for 2026-11: $1.50 of $20.00 spent, $18.50 left, anew at 2026-12-01T00:00Z\n"
        "\n"
        "DAY         MODEL   REQUESTS  TOKENS IN  TOKENS OUT       COST\n"
        "2026-11-30  gpt-4o         1      1,000          20  $0.004000\n"
        "2026-11-29  -              1      1,000          20  $0.004000\n"
        "total                      2      2,000          40  $0.008000\n",
        "",
    )
    assert json.loads(run(capsys, "usage", "--days", "7", "--json")[1]) == OWN
    assert proxy.asked == [("GET", f"/key{query}", "Bearer sk-proxy-carol") for query in ("", "?days=7")]


def test_a_proxy_without_client_keys_says_so(capsys, proxy, monkeypatch):
    """Its own 404 speaks of URLs, which nobody typed."""
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    proxy.answers = [(404, {"error": {"message": "Unknown request URL", "code": "unknown_url"}})]
    status, _, errors = run(capsys, "usage", "--url", proxy.url)
    assert status == 1
    assert "has no client keys" in errors


def test_the_usage_of_all(capsys, proxy):
    """For an operator; days go into the query."""
    proxy.answers = [(200, ALL), (200, {**ALL, "data": [], "since": None, "budgets": []})]
    status, out, _ = run(capsys, "usage", "--all", "--from", "2026-11-01", "--to", "2026-11-30")
    assert (status, out.splitlines()) == (
        0,
        [
            "DAY         KEY    MODEL   REQUESTS  TOKENS IN  TOKENS OUT       COST",
            "2026-11-30  carol  gpt-4o         1      1,000          20  $0.004000",
            "",
            "budget of carol for 2026-11: $5.00 of $5.00 spent, $0.00 left",
            "counted since 2026-11-30, when this proxy was started",
        ],
    )
    assert run(capsys, "usage", "--all")[1] == "nothing was used\n"
    assert proxy.asked[0][:2] == ("GET", "/admin/usage?format=json&from=2026-11-01&to=2026-11-30")


@pytest.mark.parametrize("arguments", [("top", "--once"), ("key", "list"), ("usage", "--all"), ("usage",)])
def test_a_secret_that_no_header_can_hold_is_not_repeated(capsys, proxy, monkeypatch, arguments):
    """Two lines pasted into a variable: the HTTP library's error had the token in it."""
    variable = "OPENAI_API_KEY" if arguments == ("usage",) else "OPENAI_PROXY_ADMIN_TOKEN"
    monkeypatch.setenv(variable, "top-secret\nsecond line")
    status, out, err = run(capsys, *arguments)
    assert (status, out, proxy.asked) == (2, "", [])
    assert f"{variable}: there is a space or the end of a line in it" in err
    assert "secret" not in err

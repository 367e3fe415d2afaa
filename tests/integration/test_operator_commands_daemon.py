"""`openai-proxy top`, `cancel` and `usage` at a real daemon with keys and an admin token."""

import json

import pytest
from world.client import Client
from world.requests import KEY, chat
from world.waiting import eventually

from openai_proxy.command import main

CONFIG = f"""
[upstream]
base_url = "mock:tokens_per_s=2"

[admin]
token = "secret"
port = "unix:admin.sock"

[[keys]]
name = "carol"
key = "{KEY}"
budget_usd = 5
"""
STREAM = b'{"model": "mock-echo", "stream": true, "messages": [{"role": "user", "content": "%b"}]}' % (
    b"word " * 500
)


@pytest.fixture
def world(start, tmp_path, monkeypatch):
    (tmp_path / "c.toml").write_text(CONFIG)
    made = start(env={"OPENAI_API_BASE": ""}, options=["--config", str(tmp_path / "c.toml")])
    monkeypatch.setenv("OPENAI_PROXY_ADMIN_TOKEN", "secret")
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{made.port}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return made


def test_what_runs_is_seen_and_cancelled(world, capsys, monkeypatch):
    """By the socket of admin.port: listed with its key, cut off, listed as cancelled; a wrong token has an error of its own."""
    socket = ["--socket", str(world.daemon.directory / "admin.sock")]

    def exchanges():
        assert main(["top", "--json", *socket]) == 0
        return json.loads(capsys.readouterr().out)["exchanges"]

    with Client(world.port) as client:
        client.send(chat(STREAM))
        client.read_until(b'"content":"word')
        (running,) = [each for each in exchanges() if each["state"] == "streaming"]
        assert (running["key"], running["model"]) == ("carol", "mock-echo")
        assert main(["cancel", running["id"], *socket]) == 0
        assert capsys.readouterr().out == f"{running['id']} is cancelled\n"
        client.rest()
        assert client.end == "reset"
    assert eventually(
        lambda: [each["outcome"] for each in exchanges() if each["id"] == running["id"]] == ["cancelled"]
    )
    assert main(["cancel", running["id"], *socket]) == 1
    assert main(["top", "--once", *socket]) == 0
    assert "cancelled" in capsys.readouterr().out

    assert main(["usage"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "carol"
    assert any(line.startswith("budget of key") and "$5.00" in line for line in lines)
    assert main(["usage", "--all", "--json", *socket]) == 0
    assert [each["key"] for each in json.loads(capsys.readouterr().out)["data"]] == ["carol"]

    monkeypatch.setenv("OPENAI_PROXY_ADMIN_TOKEN", "wrong")
    assert main(["top", "--once", *socket]) == 4
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    assert main(["usage"]) == 4

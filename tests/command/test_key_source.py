"""`openai-proxy key` with a file of stored keys, and with what answers by HTTP."""

import json
import threading
from http.server import HTTPServer

import pytest
from world.command import run
from world.scripted_proxy import Answers


@pytest.fixture
def file(tmp_path):
    return str(tmp_path / "keys.sqlite3")


def test_the_life_of_a_key_in_a_file(capsys, file):
    """Made, listed, changed, blocked, rotated, revoked; the secret is shown when it is new, and never again."""
    status, secret, errors = run(
        capsys,
        "key",
        "new",
        "alice",
        "--file",
        file,
        "--models",
        "a,b",
        "--budget",
        "20/month",
        "--expires",
        "2030-01-31",
    )
    assert (status, errors) == (0, "The key, shown this once; give it to its user:\n")
    assert secret.startswith("sk-proxy-")
    status, listed, _ = run(capsys, "key", "list", "--file", file)
    assert listed.splitlines()[1].split() == ["alice", "active", "store", "-", "20/month", "-", "never"]
    _, shown, _ = run(
        capsys, "key", "set", "alice", "--file", file, "--models", "none", "--requests-per-minute", "5"
    )
    assert "models" not in shown
    assert "requests_per_minute 5" in shown
    _, shown, _ = run(capsys, "key", "block", "alice", "--file", file, "--json")
    assert json.loads(shown)["state"] == "blocked"
    _, shown, _ = run(capsys, "key", "unblock", "alice", "--file", file, "--json")
    assert json.loads(shown)["state"] == "active"
    status, second, _ = run(capsys, "key", "rotate", "alice", "--file", file, "--grace", "24h")
    assert second.startswith("sk-proxy-")
    assert second != secret
    _, shown, _ = run(capsys, "key", "show", "alice", "--file", file)
    assert "former_secret_until" in shown
    assert "sk-proxy-" not in shown
    assert run(capsys, "key", "revoke", "alice", "--file", file)[:2] == (0, "")
    assert json.loads(run(capsys, "key", "list", "--file", file, "--json")[1]) == {
        "object": "list",
        "data": [],
    }


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["show", "bob"], 1, "no client key of that name"),
        (["new", "alice"], 1, "is a client key named"),
        (["set", "alice", "--endpoints", "@everything"], 1, "(endpoints)"),
        (["set", "alice"], 2, "nothing to set"),
        (["set", "alice", "--budget", "a lot"], 2, "no budget"),
        (["set", "alice", "--requests-per-minute", "-1"], 2, "no limit"),
        (["rotate", "alice", "--grace", "31d"], 1, "grace_s"),
        (["rotate", "alice", "--grace", "soon"], 2, "no duration"),
        (["revoke", "alice", "--cut"], 1, "--cut needs"),
        (["list", "--url", "ftp://h"], 2, "not allowed with argument"),
    ],
)
def test_what_is_refused_is_one_line(capsys, file, arguments, status, words):
    """1 is for what the store refuses, 2 for the command line."""
    run(capsys, "key", "new", "alice", "--file", file)
    refused, out, errors = run(capsys, "key", *arguments, "--file", file)
    assert (refused, out) == (status, "")
    assert words in errors
    assert errors.count("\n") == 1


def test_nothing_there_is_3(capsys, tmp_path):
    """A script can tell a wrong key from a proxy that is away."""
    assert run(capsys, "key", "list", "--file", str(tmp_path / "no"))[0] == 3
    assert run(capsys, "key", "list", "--url", "http://127.0.0.1:1")[0] == 3
    assert run(capsys, "key", "list", "--socket", str(tmp_path / "s"))[0] == 3
    assert run(capsys, "key", "list", "--url", "ftp://h")[0] == 2
    assert run(capsys, "key", "new", "a", "--models", "b")[0] == 2


class Noting(Answers):
    """Answers as a proxy does, and notes the bodies that it got."""

    def answer(self):
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.asked.append((self.command, self.path, self.headers.get("Authorization"), body))
        self.answer_next()

    do_GET = do_POST = do_PATCH = do_DELETE = answer


@pytest.fixture
def proxy():
    server = HTTPServer(("127.0.0.1", 0), Noting)
    server.asked, server.answers = [], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_running_proxy_is_asked(capsys, proxy, monkeypatch):
    """By the URL that programs have; the token comes from the environment."""
    monkeypatch.setenv("OPENAI_PROXY_URL", f"http://127.0.0.1:{proxy.server_port}/v1")
    monkeypatch.setenv("OPENAI_PROXY_ADMIN_TOKEN", "secret")
    key = {"name": "a/b", "state": "active", "key": "sk-proxy-x"}
    proxy.answers = [(201, key), (200, {"data": [key]}), (200, key), (200, key), (204, None)]
    assert run(capsys, "key", "new", "a/b", "--budget", "2/day")[1] == "sk-proxy-x\n"
    assert run(capsys, "key", "list", "--group", "x y")[0] == 0
    assert "sk-proxy" not in run(capsys, "key", "block", "a/b")[1]
    assert run(capsys, "key", "rotate", "a/b")[1] == "sk-proxy-x\n"
    assert run(capsys, "key", "revoke", "a/b", "--cut")[0] == 0
    token = "Bearer secret"
    assert proxy.asked == [
        ("POST", "/admin/keys", token, {"name": "a/b", "budget_usd": 2.0, "budget_period": "day"}),
        ("GET", "/admin/keys?group=x%20y", token, None),
        ("PATCH", "/admin/keys/a%2Fb", token, {"blocked": True}),
        ("POST", "/admin/keys/a%2Fb/rotate", token, {"grace_s": 0.0}),
        ("DELETE", "/admin/keys/a%2Fb?cut=true", token, None),
    ]


def test_a_refusal_says_what_the_proxy_says(capsys, proxy):
    """Without what a terminal would obey."""
    url = f"http://127.0.0.1:{proxy.server_port}"
    proxy.answers = [
        (409, {"error": {"message": "taken\x1b[2J", "param": "name", "code": "key_exists"}}),
        (500, None),
    ]
    assert run(capsys, "key", "new", "a", "--url", url) == (1, "", "openai-proxy: taken\\x1b[2J (name)\n")
    assert run(capsys, "key", "show", "a", "--url", url) == (1, "", "openai-proxy: it answered 500\n")

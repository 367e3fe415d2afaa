"""`openai-proxy demo` as somebody types it who has read nothing: what it prints works as it stands."""

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from world.ports import HeldPort
from world.waiting import PATIENCE_S

from openai_proxy.command import main
from openai_proxy.command.demo import free_port

ROOT = Path(__file__).parents[2]
CONFIGURED = {"CLIENT_API_KEYS": "sk-mine", "OPENAI_API_BASE": "http://127.0.0.1:1", "WORKERS": "2"}


@contextlib.contextmanager
def demo(directory, *options):
    """Start it where a real proxy is configured; yield the process and what it prints first."""
    process = subprocess.Popen(
        [sys.executable, "-m", "openai_proxy", "demo", *options],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **CONFIGURED},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lines = []
        while not lines or lines[-1] not in ("", "Requests appear below.\n"):
            lines.append(process.stdout.readline())
        assert lines[-1], process.stderr.read()
        yield process, lines
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE_S)


def after(lines, title):
    """Return what stands below a title."""
    return lines[lines.index(f"{title}\n") + 1].strip()


def asked_by(words):
    """Return the request of a curl command with -H and -d."""
    command, url, *options = words
    assert command == "curl"
    values = dict(zip(options[::2], options[1::2], strict=True))
    name, _, value = values["-H"].partition(": ")
    return urllib.request.Request(url, values["-d"].encode(), {name: value})


def test_what_it_prints_works(tmp_path):
    """The curl line is answered and shown, the page is there, ^C ends it; what is configured here is not used."""
    (tmp_path / ".env").write_text("AUTH__REQUIRED=nonsense\n")
    with demo(tmp_path) as (process, lines):
        asked = asked_by(shlex.split(after(lines, "In another terminal:")))
        with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
            assert json.load(answer)["choices"][0]["message"]["content"]
        page = urllib.request.Request(after(lines, "In a browser:"), headers={"accept": "text/html"})
        with urllib.request.urlopen(page, timeout=PATIENCE_S) as answer:
            assert b"<h1>openai-proxy</h1>" in answer.read()
        dashboard = lines[lines.index("In a browser:\n") + 2].strip()
        with urllib.request.urlopen(dashboard, timeout=PATIENCE_S) as answer:
            assert answer.headers["Content-Type"].startswith("text/html")
        assert " POST /v1/chat/completions mock-text 200 " in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, error) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


def test_a_port_that_is_taken_is_not_insisted_on():
    """Somebody's proxy runs there already."""
    held = HeldPort()
    with socket.create_server(("127.0.0.1", held.number)):
        assert free_port(held.number) == "tcp:0:interface=127.0.0.1"
    assert free_port(held.number) == f"tcp:{held.number}:interface=127.0.0.1"


def test_its_options_are_those_of_the_proxy(capsys):
    """A mistake is one line that names the right command."""
    with pytest.raises(SystemExit) as stopped:
        main(["demo", "--prot", "tcp:0"])
    assert stopped.value.code == 1
    assert capsys.readouterr().err.endswith("(see openai-proxy demo --help)\n")

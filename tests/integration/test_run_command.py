"""`openai-proxy run` as a user types it: real processes and sockets."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from world.scripts import answer
from world.upstream import Upstream
from world.waiting import PATIENCE_S, eventually

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "openai_proxy"]
CLIENT = """\
import json, os, sys, urllib.request
url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}).encode()
headers = {"authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "content-type": "application/json"}
print(urllib.request.urlopen(urllib.request.Request(url, body, headers)).status, sys.stdin.read())
sys.exit(7)
"""


def environment(directory, upstream_url, **more):
    kept = {"PATH": os.environ["PATH"], "HOME": str(directory), "PYTHONPATH": str(ROOT)}
    return {**kept, "OPENAI_API_BASE": upstream_url, "DRAIN_TIMEOUT_S": "5", **more}


@pytest.fixture
def upstream():
    made = Upstream()
    made.script = answer()
    yield made
    made.close()
    assert made.errors == []


@contextlib.contextmanager
def running(directory, upstream_url, *arguments, **options):
    """Start the command; it is killed if a test leaves it running."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=directory,
        env=environment(directory, upstream_url, **options.pop("env", {})),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def run(directory, upstream_url, *arguments, given="", **more):
    """Run the command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=directory,
        env=environment(directory, upstream_url, **more),
        input=given,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def test_a_program_behind_the_proxy(tmp_path, upstream):
    """Its base URL, streams and exit status are right, the real key is not its own, and there is a bill."""
    done = run(
        tmp_path,
        upstream.url,
        "run",
        "-o",
        "exchange-log:dir=logs",
        "--",
        sys.executable,
        "-c",
        CLIENT,
        given="typed",
        OPENAI_API_KEY="sk-real",
    )
    assert (done.returncode, done.stdout) == (7, "200 typed\n")
    assert re.fullmatch(r"openai-proxy: 1 request, 5 tokens in, 5 out, .*\n", done.stderr)
    assert [call.header(b"authorization") for call in upstream.calls] == [b"Bearer sk-real"]
    assert len(list((tmp_path / "logs").iterdir())) == 1


def test_a_program_sees_the_placeholder(tmp_path, upstream):
    """`env` shows it, so does what a program sends to strangers."""
    done = run(tmp_path, upstream.url, "run", "--", "env", OPENAI_API_KEY="sk-real")
    assert "sk-real" not in done.stdout
    assert re.search(r"^OPENAI_BASE_URL=http://127\.0\.0\.1:\d+/v1$", done.stdout, re.M)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("command", "status", "line"),
    [
        (["no-such-program"], 127, "openai-proxy: no-such-program: No such file or directory\n"),
        (["sh", "-c", "kill -9 $$"], 137, "openai-proxy: 0 requests, 0 tokens in, 0 out, $0.0000\n"),
        ([], 1, "openai-proxy: no command after --: openai-proxy run -- python script.py\n"),
    ],
)
def test_ends_that_are_no_success(tmp_path, upstream, command, status, line):
    """A shell's numbers, and one line."""
    done = run(tmp_path, upstream.url, "run", "--", *command)
    assert (done.returncode, done.stderr, done.stdout) == (status, line, "")


def test_a_program_without_the_dashes_is_told(tmp_path, upstream):
    """The line says what to type."""
    done = run(tmp_path, upstream.url, "run", "python")
    assert done.returncode == 1
    assert "openai-proxy run -- python ..." in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_the_programs(tmp_path, upstream, number):
    """It decides what ^C means, and the bill comes however it ends."""
    trap = f"trap 'echo caught; exit 5' {number.value}; echo ready; while :; do sleep 0.05; done"
    with running(tmp_path, upstream.url, "run", "--", "sh", "-c", trap, start_new_session=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, error = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out) == (5, "caught\n")
    assert error == "openai-proxy: 0 requests, 0 tokens in, 0 out, $0.0000\n"


@pytest.mark.parametrize("arguments", [["run"], []], ids=["run", "bare"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_daemon_in_the_foreground(tmp_path, upstream, arguments, workers):
    """It serves, logs plainly on stderr, leaves no pidfile, and ends at SIGINT with 0."""
    options = [*arguments, "--port", "tcp:0:interface=127.0.0.1", "--workers", workers]
    log = tmp_path / "log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [*COMMAND, *options],
            cwd=tmp_path,
            env=environment(tmp_path, upstream.url, OPENAI_API_KEY="sk-real"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            assert eventually(lambda: "listening on" in log.read_text() or process.poll() is not None)
            url = re.search(r"listening on (\S+)", log.read_text())[1]
            client = subprocess.run(
                [sys.executable, "-c", CLIENT],
                env={"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": "any"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=PATIENCE_S,
            )
            assert client.returncode == 7
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert process.returncode == 0
    assert re.search(r"^\S+Z \S+ POST /v1/chat/completions gpt-4o-mini 200 ", out)
    lines = log.read_text().splitlines()
    assert [line for line in lines if not re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z \S", line)] == []
    assert "twisted" not in log.read_text().lower()
    assert [path.name for path in tmp_path.iterdir()] == ["log"]

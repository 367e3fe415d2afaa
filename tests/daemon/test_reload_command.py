"""`openai-proxy reload PID`, as systemd's ExecReload= runs it, against a real daemon."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from openai_proxy.command import main
from openai_proxy.daemon.reload_command import reload
from openai_proxy.daemon.reloads import report_refused, report_reloaded

COMMAND = Path(sys.executable).with_name("openai-proxy")

DAEMON = """
import signal, sys
from openai_proxy.daemon.reloads import report_refused, report_reloaded
outcomes = iter(sys.argv[1:])
def reload(*_):
    outcome = next(outcomes)
    report_reloaded("inject") if outcome == "reloaded" else report_refused(outcome)
signal.signal(signal.SIGHUP, reload)
print("ready", flush=True)
while True:
    signal.pause()
"""

PARENT = """
import subprocess
with subprocess.Popen(["sleep", "30"]) as child:
    print(child.pid, flush=True)
"""
"""Starts a process that a SIGHUP ends, and waits for its end."""


@pytest.fixture
def daemon(tmp_path):
    """Start what answers SIGHUPs with these outcomes, one after the other; give its process id."""
    started = []

    def start(*outcomes):
        process = subprocess.Popen(
            [sys.executable, "-c", DAEMON, *outcomes],
            env={**os.environ, "RUNTIME_DIRECTORY": str(tmp_path)},
            stdout=subprocess.PIPE,
        )
        started.append(process)
        process.stdout.readline()
        return process.pid

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_it_fails_when_the_daemon_refuses(daemon, tmp_path, monkeypatch, capsys):
    """Each time anew, with the daemon's reason; a good reload succeeds."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path}:/elsewhere")
    pid = daemon("reloaded", "retry.max_retries: no number", "retry.max_retries: no number", "reloaded")
    assert [main(["reload", str(pid)]) for _ in range(4)] == [0, 1, 1, 0]
    assert (
        capsys.readouterr().err.splitlines()
        == ["openai-proxy: reload refused: retry.max_retries: no number"] * 2
    )
    assert [path.name for path in tmp_path.iterdir()] == ["reload"]


def test_it_fails_at_once_when_the_daemon_ends(tmp_path, monkeypatch, capsys):
    """One that died of the reload was waited for a minute."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    # a grandchild, so that somebody else takes its exit status and no zombie keeps its number
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert reload(int(parent.stdout.readline())) == 1
    assert "the daemon ended" in capsys.readouterr().err


def test_it_fails_without_an_answer(tmp_path, monkeypatch, capsys):
    """No daemon, one that says nothing, or no directory where it could say it."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    silent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import signal; signal.signal(1, lambda *_: 0); print(flush=True); signal.sigwait({15})",
        ],
        stdout=subprocess.PIPE,
    )
    silent.stdout.readline()
    assert reload(silent.pid, wait_s=0.2) == 1
    silent.kill()
    silent.wait()
    silent.stdout.close()
    assert reload(silent.pid) == 1
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    assert reload(os.getpid()) == 1
    said = capsys.readouterr().err.splitlines()
    assert ["did not say" in said[0], "No such process" in said[1], "RUNTIME_DIRECTORY" in said[2]] == [
        True
    ] * 3


def test_outside_systemd_no_file_is_left(tmp_path, monkeypatch):
    """The log has the outcome; a directory that is gone is no harm."""
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.chdir(tmp_path)
    report_reloaded("inject")
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "gone"))
    report_refused("why")
    assert list(tmp_path.iterdir()) == []

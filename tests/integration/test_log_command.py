"""`openai-proxy log` in a pipe and beside a log that grows."""

import json
import os
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

from world.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "openai_proxy", "log", "--dir"]
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}


def line(number):
    record = {
        "timestamp": f"2026-11-30T08:00:00.{number:03d}Z",
        "request": {"path": "/v1/x"},
        "id": f"proxy-{number}",
    }
    return json.dumps(record) + "\n"


def test_follow_goes_on_with_new_lines_and_new_files(tmp_path):
    """Half a line is waited for; a file that comes later is seen; ^C ends it quietly."""
    first = tmp_path / "m_20261130.jsonl"
    first.write_text(line(1))
    with subprocess.Popen(
        [*COMMAND, tmp_path, "--follow"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell lets what it starts in the background ignore ^C, and that is inherited
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        watchdog = threading.Timer(PATIENCE_S, process.kill)
        watchdog.start()
        try:
            assert "proxy-1" in process.stdout.readline()
            with first.open("a") as file:
                file.write(line(2)[:20])
                file.flush()
                (tmp_path / "n_20261201.jsonl").write_text(line(3))
                assert "proxy-3" in process.stdout.readline()
                file.write(line(2)[20:])
            assert "proxy-2" in process.stdout.readline()
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=PATIENCE_S) == ("", "")
            assert process.returncode == 130
        finally:
            watchdog.cancel()
            process.kill()


def test_a_reader_that_has_seen_enough(tmp_path):
    """`openai-proxy log | head -1` says nothing about pipes."""
    (tmp_path / "m_20261130.jsonl").write_text("".join(map(line, range(900))) * 20)
    with subprocess.Popen(
        [*COMMAND, tmp_path], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert "proxy-0" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(PATIENCE_S) == 0

"""`openai-proxy check`, and how `run` reports mistakes: real processes that stop by themselves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120


def run(tmp_path, *arguments, **environ):
    """Run the command in an empty directory."""
    return subprocess.run(
        [sys.executable, "-m", "openai_proxy", *arguments],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def test_check_prints_the_configuration(tmp_path):
    """All settings in force, without secrets; no file is left."""
    done = run(tmp_path, "check", OPENAI_API_KEY="CANARY", LOG_LEVEL="warn")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("mode: inject\n")
    assert '\nlog_level = "warn"  # from LOG_LEVEL\n' in done.stdout
    assert "\ntimeout_s.connect = " in done.stdout
    assert "CANARY" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_only_changed_leaves_defaults_out(tmp_path):
    """A short answer to what is special here."""
    done = run(tmp_path, "check", "--only-changed", "--port", "tcp:80", LOG_LEVEL="warn")
    assert (done.returncode, done.stderr) == (0, "")
    settings = [line for line in done.stdout.splitlines() if " = " in line]
    assert settings == ['ports = ["tcp:80"]  # from --port', 'log_level = "warn"  # from LOG_LEVEL']


@pytest.mark.parametrize(
    ("arguments", "environ", "line"),
    [
        (["run", "--no-such"], {}, "option --no-such not recognized (see openai-proxy run --help)"),
        (["--no-such"], {}, "option --no-such not recognized (see openai-proxy run --help)"),
        (["check", "--no-such"], {}, "option --no-such not recognized (see openai-proxy check --help)"),
        (["run", "-n"], {}, "-n is an option of twistd, which openai-proxy run does without"),
        (["run", "--port", "nonsense:1"], {}, "ports (from --port): 'nonsense:1'"),
        (["check"], {"THINK__MODE": "x"}, "think.mode (from THINK__MODE): 'x'"),
        (["run", "--port", "unix:/no/such/directory/s"], {}, "cannot listen on unix:/no/such/directory/s"),
    ],
)
def test_mistake_is_one_line_and_exit_1(tmp_path, arguments, environ, line):
    """No usage dump, no traceback; what comes before it is the log of the start."""
    done = run(tmp_path, *arguments, **environ)
    assert done.returncode == 1
    own = [each for each in done.stderr.splitlines() if each.startswith("openai-proxy: ")]
    assert len(own) == 1
    assert own[0].startswith(f"openai-proxy: {line}")
    assert done.stderr.endswith(own[0] + "\n")
    assert "Traceback" not in done.stderr


def test_help_of_run_names_no_twistd(tmp_path):
    """Its first line is what to type."""
    done = run(tmp_path, "run", "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: openai-proxy run [options]")
    assert "twistd" not in done.stdout.partition("Settings without")[0]

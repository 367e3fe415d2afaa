"""`twistd openai-proxy` as a user types it: real processes that stop by themselves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from openai_proxy import __version__
from openai_proxy.settings import SettingsError, settings_reference
from openai_proxy.tap import Options

ROOT = Path(__file__).parents[1]
PATIENCE_S = 120
"""Of a process that starts on a busy machine."""


def run(tmp_path, *args, before=("-n",), **environ):
    script = Path(sys.executable).parent / "twistd"
    return subprocess.run(
        [script, *before, *args],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def test_help_shows_every_option_variable_and_default():
    """The help leaves nothing out that can be configured."""
    text = " ".join(str(Options()).split())
    for row in settings_reference():
        assert not row.option or f"--{row.option}" in text
        assert row.default in text
        assert all(name in text for name in row.environment)
        assert row.environment or f"[[{row.toml}]]" in text


def test_options_become_overrides(tmp_path, monkeypatch):
    """Options are what they say, in their short and repeated forms."""
    monkeypatch.chdir(tmp_path)
    for name in [name for row in settings_reference() for name in row.environment]:
        monkeypatch.delenv(name, raising=False)
    options = Options()
    options.parseOptions(
        [
            "-p",
            "tcp:1",
            "--port",
            "unix:/x",
            "-o",
            "console",
            "-o",
            "json:-",
            "-w",
            "2",
            "--log-level",
            "debug",
            "--drain-timeout",
            "3",
            "--upstream",
            "http://h",
        ]
    )
    settings = options.load()
    assert settings.ports == ("tcp:1", "unix:/x")
    assert settings.observers == ("console", "json:-")
    assert (settings.workers, settings.log_level, settings.drain_timeout_s) == (2, "debug", 3)
    assert settings.upstream.base_url == "http://h/v1"


def test_reload_misses_a_dotenv_that_was_there(tmp_path, monkeypatch):
    """Without the .env that had the client keys, a reload opened the proxy to everybody."""
    monkeypatch.chdir(tmp_path)
    options = Options()
    options.parseOptions([])
    options.load()
    (tmp_path / ".env").write_text("OPENAI_API_KEY=u\nCLIENT_API_KEYS=k\n")
    assert len(options.load().client_api_keys) == 1
    (tmp_path / ".env").unlink()
    with pytest.raises(SettingsError, match=r"\.env: No such file"):
        options.load()


def test_help_and_version(tmp_path):
    """twistd finds the command; its help starts with how to call it, its version is ours."""
    shown = run(tmp_path, "openai-proxy", "--help", before=())
    assert shown.returncode == 0
    assert shown.stdout.startswith("Usage: twistd [twistd's options] openai-proxy [options]\n")
    assert run(tmp_path, "openai-proxy", "--version", before=()).stdout == f"openai-proxy {__version__}\n"


@pytest.mark.parametrize(
    ("args", "environ", "line"),
    [
        (["--no-such-option"], {}, "openai-proxy: option --no-such-option not recognized"),
        (["surplus"], {}, "openai-proxy: Wrong number of arguments"),
        (
            [],
            {"RETRY__MAX_RETRIES": "many"},
            "openai-proxy: retry.max_retries (from RETRY__MAX_RETRIES): 'many'",
        ),
        (["--check-config"], {"THINK__MODE": "x"}, "openai-proxy: think.mode (from THINK__MODE): 'x'"),
        (["--port", "nonsense:1"], {}, "openai-proxy: ports (from --port): 'nonsense:1'"),
        (
            ["-n"],
            {},
            "openai-proxy: -n is an option of twistd and stands before the plugin's name: twistd -n openai-proxy",
        ),
        (
            ["--pidfile=x"],
            {},
            "openai-proxy: --pidfile is an option of twistd and stands before the plugin's name",
        ),
        (["--port", "127.0.0.1:8080"], {}, "openai-proxy: ports (from --port): '127.0.0.1:8080'"),
        (["--config", "none.toml"], {}, "openai-proxy: cannot read the configuration"),
        ([], {"LLM_PARAMS": "nonsense"}, "openai-proxy: llm_params (from LLM_PARAMS): "),
        ([], {"OBSERVERS": "nosuch"}, "openai-proxy: observers (from OBSERVERS): "),
    ],
    ids=[
        "option",
        "argument",
        "value",
        "check",
        "port",
        "twistd",
        "pidfile",
        "address",
        "config",
        "params",
        "observer",
    ],
)
def test_mistake_is_one_line_and_exit_1(tmp_path, args, environ, line):
    """A start that cannot succeed says why in one line: no usage dump, no traceback."""
    done = run(tmp_path, "openai-proxy", *args, **environ)
    assert done.returncode == 1
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_check_config_prints_and_leaves_nothing(tmp_path):
    """--check-config shows what holds, without secrets, also while a daemon runs here."""
    (tmp_path / "twistd.pid").write_text(str(os.getpid()))
    done = run(tmp_path, "openai-proxy", "--check-config", OPENAI_API_KEY="CANARY", LOG_LEVEL="warn")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("mode: inject\n")
    assert '\nlog_level = "warn"  # from LOG_LEVEL\n' in done.stdout
    assert "CANARY" not in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["twistd.pid"]


def test_check_config_in_a_locale_without_the_letters(tmp_path):
    """A name with an umlaut is escaped if the terminal has none; it was a traceback."""
    (tmp_path / "c.toml").write_text('[upstream]\napi_key="u"\n[[keys]]\nname="Zoë"\nkey="k"\n', "utf-8")
    done = run(
        tmp_path, "openai-proxy", "--check-config", "--config", "c.toml", PYTHONIOENCODING="ascii:strict"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert 'keys[0].name = "Zo\\xeb"' in done.stdout


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("option", ["--check-config", "--help"])
def test_reader_that_leaves_early_is_no_mistake(tmp_path, option, unbuffered):
    """`twistd openai-proxy --check-config | head -1` shows its line, and no traceback after it."""
    script = Path(sys.executable).parent / "twistd"
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        done = subprocess.run(
            [script, "openai-proxy", option],
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "PYTHONPATH": str(ROOT),
                "PYTHONUNBUFFERED": unbuffered,
            },
            stdout=nobody,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE_S,
        )
    assert (done.returncode, done.stderr) == (0, "")


def test_tac_file_is_configured_by_the_environment(tmp_path):
    """twistd -ny openai_proxy.tac reads the same settings and fails in the same way."""
    done = run(tmp_path, before=("-ny", str(ROOT / "openai_proxy.tac")), WORKERS="many")
    assert done.returncode == 1
    assert "openai-proxy: workers (from WORKERS): 'many'" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_check_config_shows_the_warnings(tmp_path):
    """What is logged at a start is printed here too, also with workers."""
    for workers in ("1", "2"):
        done = run(
            tmp_path,
            "openai-proxy",
            "--check-config",
            WORKERS=workers,
            CACHE_URL="memory:",
            THINK__TRIM="true",
        )
        warned = [line for line in done.stdout.splitlines() if line.startswith("# warning: ")]
        assert done.returncode == 0
        assert [line.split()[2] for line in warned] == ["CACHE_URL:", "think.trim"]

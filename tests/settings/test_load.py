"""Where settings come from, and which source takes precedence."""

import hashlib
import re
from pathlib import Path

import pytest

from openai_proxy.settings import (
    SettingsError,
    client_keys,
    describe,
    load_settings,
    mode,
    settings_reference,
)


def load(tmp_path, options=None, environ=None, **files):
    for name, text in files.items():
        (tmp_path / {"dotenv": ".env", "toml": "c.toml"}.get(name, name)).write_text(text)
    options = {"config": "c.toml" if "toml" in files else None, **(options or {})}
    return load_settings(options, environ or {}, tmp_path)


def test_nothing_given_has_the_documented_defaults(tmp_path):
    """A first start needs no configuration and opens nothing to the network."""
    settings = load(tmp_path)
    assert settings.ports == ("tcp:8080:interface=127.0.0.1",)
    assert settings.upstream.base_url == "https://api.openai.com/v1"
    assert settings.observers == ("console",)
    assert settings.retry.max_retries == 3
    assert (settings.timeout_s.connect, settings.timeout_s.first_byte, settings.timeout_s.idle) == (
        10,
        600,
        600,
    )
    assert settings.timeout_s.total is None
    assert mode(settings) == "pass-through"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("option env dotenv toml", "1"),
        ("env dotenv toml", "2"),
        ("dotenv toml", "3"),
        ("toml", "4"),
        ("", "30"),
    ],
)
def test_first_source_that_has_it_wins(tmp_path, given, expected):
    """Command line, environment, .env, TOML, default, in this order."""
    files = {"dotenv": "DRAIN_TIMEOUT_S=3\n", "toml": "drain_timeout_s = 4\n"}
    settings = load(
        tmp_path,
        {"drain_timeout_s": "1"} if "option" in given else {},
        {"DRAIN_TIMEOUT_S": "2"} if "env" in given.split() else {},
        **{name: text for name, text in files.items() if name in given.split()},
    )
    assert settings.drain_timeout_s == float(expected)


def test_tables_of_several_sources_are_merged(tmp_path):
    """A variable replaces one key of a TOML table and leaves the others."""
    settings = load(tmp_path, None, {"TIMEOUT_S__IDLE": "7"}, toml="[timeout_s]\nidle = 5\nconnect = 6\n")
    assert (settings.timeout_s.idle, settings.timeout_s.connect) == (7, 6)


@pytest.mark.parametrize(
    ("environ", "host"),
    [
        (
            {"OPENAI_API_BASE": "http://a", "TARGET_BASE_URL": "http://b", "UPSTREAM__BASE_URL": "http://c"},
            "a",
        ),
        ({"TARGET_BASE_URL": "http://b", "UPSTREAM__BASE_URL": "http://c"}, "b"),
        ({"UPSTREAM__BASE_URL": "http://c", "OPENAI_BASE_URL": "http://d"}, "c"),
        ({"OPENAI_API_BASE": "", "TARGET_BASE_URL": "http://b"}, "b"),
    ],
)
def test_base_url_has_three_names(tmp_path, environ, host):
    """The aliases count in order; the client's own variable is not read; empty is not set."""
    assert load(tmp_path, None, environ).upstream.base_url == f"http://{host}/v1"


@pytest.mark.parametrize(
    ("environ", "path", "expected"),
    [
        ({"PORT": "9000"}, "ports", ("tcp:9000",)),
        ({"PORTS": "tcp:1 unix:/x", "PORT": "2"}, "ports", ("tcp:1", "unix:/x")),
        ({"STRIP_THINK_TAGS": "true"}, "think.mode", "strip"),
        ({"STRIP_THINK_TAGS": "true", "THINK__MODE": "reasoning_content"}, "think.mode", "reasoning_content"),
        ({"THINK_TAG": "<a>", "THINK_END_TAG": "</a>"}, "think.start_tag", "<a>"),
        ({"DEBUG": "true"}, "log_level", "debug"),
        ({"DEBUG": "false"}, "log_level", "info"),
        ({"LOG_LEVEL": "WARNING"}, "log_level", "warn"),
        ({"API_REQUEST_TIMEOUT": "9"}, "timeout_s.first_byte", 9),
        ({"TIMEOUT_S__TOTAL": "none"}, "timeout_s.total", None),
        ({"OBSERVERS": "console json:-"}, "observers", ("console", "json:-")),
        ({"STORAGE_TYPE": "local", "LOCAL_LOG_DIR": "/logs"}, "storage.local_log_dir", "/logs"),
    ],
)
def test_short_forms(tmp_path, environ, path, expected):
    """The variables that other programs' users know mean what they say."""
    value = load(tmp_path, None, environ)
    for step in path.split("."):
        value = getattr(value, step)
    assert value == expected


@pytest.mark.parametrize(
    "row", [row for row in settings_reference() if row.environment], ids=lambda row: row.toml
)
def test_every_variable_is_read(tmp_path, row):
    """Each name of the reference is read: a value that nothing allows stops the start or arrives."""
    for name in row.environment:
        try:
            found = load(tmp_path, None, {name: "\x01"}).origin(row.toml)
        except SettingsError as error:
            found = str(error)
        assert name in found


def test_dotenv_file_may_be_named(tmp_path):
    """--env-file replaces .env; `export`, comments and quotes are understood."""
    settings = load(
        tmp_path, {"env_file": "other"}, None, dotenv="WORKERS=2\n", other='# c\nexport WORKERS="3"\nX\n'
    )
    assert settings.workers == 3
    assert settings.origin("workers") == "WORKERS in other"


def test_config_may_be_named_by_a_variable(tmp_path):
    """OPENAI_PROXY_CONFIG is --config."""
    (tmp_path / "x.toml").write_text("workers = 4\n")
    assert load(tmp_path, None, {"OPENAI_PROXY_CONFIG": "x.toml"}).workers == 4


def test_unknown_variables_are_reported(tmp_path):
    """A limit with a slip in its name was passed over in silence."""
    environ = {
        "RATE_LIMIT__REQUEST_PER_MINUTE": "5",
        "CACHE__MAX_BYTES_FILE": "x",
        "CACHE__URL_FILE": "",
        "LIMITS__": "1",
        "OTHER__NAME": "1",
        "PATH": "/bin",
    }
    settings = load(tmp_path, None, environ, dotenv="RETRY__MAX_RETRY=1\n")
    assert [line.replace("unknown setting; the nearest known one is ", "") for line in settings.unknown] == [
        "CACHE__MAX_BYTES_FILE: CACHE__MAX_BYTES",
        "LIMITS__: LIMITS__IN_FLIGHT",
        "RATE_LIMIT__REQUEST_PER_MINUTE: RATE_LIMIT__REQUESTS_PER_MINUTE",
        "RETRY__MAX_RETRY in .env: RETRY__MAX_RETRIES",
    ]
    assert describe(settings).splitlines()[1].startswith("# warning: CACHE__MAX_BYTES_FILE: unknown setting")


def test_secrets_come_from_files_without_their_last_newline(tmp_path):
    """NAME_FILE is read as Docker and Kubernetes mount it."""
    settings = load(
        tmp_path,
        None,
        {"OPENAI_API_KEY_FILE": "key", "CLIENT_API_KEYS_FILE": "keys"},
        key="sk-up\n",
        keys="a,b\n",
    )
    assert settings.upstream.api_key.get_secret_value() == "sk-up"
    assert [key.get_secret_value() for key in settings.client_api_keys] == ["a", "b"]


def test_relative_paths_mean_the_directory_of_the_start(tmp_path):
    """A daemon that changed its directory still finds its files."""
    settings = load(tmp_path, None, {"STORAGE_TYPE": "local", "LOCAL_LOG_DIR": "logs"})
    assert settings.storage.local_log_dir == str(tmp_path / "logs")
    assert settings.directory == tmp_path


def test_client_keys_are_one_table(tmp_path):
    """Keys of the list, the mapping and [[keys]] are each there once, with their upstream key."""
    digest = hashlib.sha256(b"sk-bob").hexdigest()
    settings = load(
        tmp_path,
        None,
        {
            "OPENAI_API_KEY": "sk-up",
            "CLIENT_API_KEYS": "sk-a,sk-b",
            "API_KEY_MAPPING": '{"sk-b":"up-b","sk-al":"up-al"}',
        },
        toml=f"[[keys]]\nname='bob'\nkey_sha256='{digest}'\nupstream_key='up-bob'\nexpires='2020-01-01T00:00:00Z'\n"
        "[[keys]]\nname='al'\nkey='sk-al'\nmodels=['gpt-*']\nlimits={requests_per_minute=3}\nexpires=2030-01-01\n",
    )
    found = {key.name: key for key in client_keys(settings)}
    upstream = {name: key.upstream_key and key.upstream_key.get_secret_value() for name, key in found.items()}
    name_a, name_b = ("key-" + hashlib.sha256(key).hexdigest()[:8] for key in (b"sk-a", b"sk-b"))
    assert upstream == {"bob": "up-bob", "al": "up-al", name_a: None, name_b: "up-b"}
    assert found["bob"].sha256 == bytes.fromhex(digest)
    assert found["al"].models == ("gpt-*",)
    assert found["al"].limits.requests_per_minute == 3
    assert all(found[name].expires.utcoffset().total_seconds() == 0 for name in ("bob", "al"))
    assert mode(settings) == "tenants"


def test_settings_can_not_be_changed(tmp_path):
    """A reload swaps the whole; nothing changes in place."""
    settings = load(tmp_path)
    with pytest.raises(ValueError):
        settings.workers = 2


def test_the_example_file_is_short_and_loads(tmp_path):
    """.env.example has ten settings, and works as it stands with the marks taken off; the reference has all."""
    text = (Path(__file__).parents[2] / ".env.example").read_text()
    names = {name for row in settings_reference() for name in row.environment}
    lines = [line[2:] for line in text.splitlines() if re.match(r"# [A-Z_]+=", line)]
    assert {line.partition("=")[0] for line in lines} <= names
    assert len(lines) == 10
    assert "docs/reference/settings.md" in text
    (tmp_path / "logs").mkdir()
    settings = load(tmp_path, dotenv="\n".join(lines))
    assert settings.observers != load_settings({}, {}, Path("/")).observers
    changed = settings.model_copy(update={"observers": ("console",)})
    assert changed.model_dump() == load_settings({}, {}, Path("/")).model_dump()


@pytest.mark.parametrize(
    ("toml", "ports"), [("ports = 8081", ("tcp:8081",)), ("ports = [1, 'tcp:2']", ("tcp:1", "tcp:2"))]
)
def test_ports_of_the_file_may_be_numbers(tmp_path, toml, ports):
    """Whoever writes TOML writes a port number as a number."""
    assert load(tmp_path, toml=toml).ports == ports


@pytest.mark.parametrize("text", ["true", " Yes ", "ON", "t", "y", "1"])
@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [
        ("STRIP_THINK_TAGS", "think.mode", "strip"),
        ("DEBUG", "log_level", "debug"),
        ("CACHE__SHARED", "cache.shared", True),
    ],
)
def test_truth_is_spelt_alike_everywhere(tmp_path, text, name, path, expected):
    """What switches one setting on switches any other on."""
    value = load(tmp_path, environ={name: text})
    for step in path.split("."):
        value = getattr(value, step)
    assert value == expected


def test_what_is_overruled_is_not_read(tmp_path):
    """A key in the environment makes good the secret file that .env names and this machine has not."""
    dotenv = "OPENAI_API_KEY_FILE=/nonexistent/key\nPORT=none\n"
    settings = load(tmp_path, {"ports": ["tcp:0"]}, {"OPENAI_API_KEY": "sk-1"}, dotenv=dotenv)
    assert settings.upstream.api_key.get_secret_value() == "sk-1"
    assert settings.ports == ("tcp:0",)


def test_byte_order_marks_are_no_text(tmp_path):
    """Files from a Windows editor are read as they look."""
    (tmp_path / "key").write_text("\ufeffsk-1\r\n")
    settings = load(
        tmp_path, environ={"OPENAI_API_KEY_FILE": "key"}, toml="\ufeff[retry]\r\nmax_retries = 1\r\n"
    )
    assert settings.upstream.api_key.get_secret_value() == "sk-1"
    assert settings.retry.max_retries == 1


def test_thoughts_of_a_model_may_be_named_by_their_mode(tmp_path):
    """`think = "strip"` is short for the table with that mode."""
    settings = load(tmp_path, toml="[[models]]\nmatch = 'a'\nthink = 'strip'\n")
    assert settings.models[0].think.mode == "strip"


@pytest.mark.parametrize(
    ("given", "called"),
    [
        ("http://h", "http://h/v1"),
        ("http://h/", "http://h/v1"),
        ("http://h:8000/v1/", "http://h:8000/v1"),
        ("https://h/openai/v1", "https://h/openai/v1"),
    ],
)
def test_a_base_url_is_kept_as_it_is_called(tmp_path, given, called):
    """The start line, /health and --check-config showed it without the /v1 that the proxy adds."""
    environ = {"OPENAI_API_BASE": given}
    assert load(tmp_path, None, environ).upstream.base_url == called

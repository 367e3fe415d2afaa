"""Every bad configuration is one line that names the setting and shows no secret."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.settings import SettingsError, load_settings

VARIABLES = [
    ({"OPENAI_API_BASE": "ftp://x/v1"}, "upstream.base_url.*OPENAI_API_BASE.*'ftp://x/v1'.*http"),
    ({"OPENAI_API_BASE": "not a url"}, "OPENAI_API_BASE"),
    ({"OPENAI_API_BASE": "http://"}, "OPENAI_API_BASE"),
    ({"OPENAI_API_BASE": "http://h:99999/v1"}, "port from 1 to 65535"),
    ({"OPENAI_API_BASE": "http://h:0/v1"}, "OPENAI_API_BASE"),
    ({"OPENAI_API_BASE": "http://h:/v1"}, "OPENAI_API_BASE"),
    ({"OPENAI_API_BASE": "https://user:CANARY@h/v1"}, "userinfo"),
    ({"OPENAI_API_BASE": "user:CANARY/x@h"}, "OPENAI_API_BASE"),
    ({"OPENAI_API_BASE": "https://h/v1?x=CANARY"}, "query"),
    ({"OPENAI_API_BASE": "https://h/v1#f"}, "fragment"),
    ({"OPENAI_API_BASE": "https://h/a/../b"}, "dot segments"),
    ({"OPENAI_API_BASE": "https://h\n/v1"}, "OPENAI_API_BASE"),
    ({"UPSTREAM__AUTH_HEADER": "a b"}, "auth_header"),
    ({"UPSTREAM__AUTH_HEADER": "Host"}, "auth_header"),
    ({"UPSTREAM__VIA": "a\r\nb"}, "upstream.via"),
    ({"OPENAI_API_KEY": "CANARY\r\nx: y"}, "upstream.api_key"),
    ({"TIMEOUT_S__CONNECT": "soon"}, "timeout_s.connect.*TIMEOUT_S__CONNECT.*'soon'.*seconds"),
    ({"TIMEOUT_S__IDLE": "-1"}, "timeout_s.idle"),
    ({"TIMEOUT_S__IDLE": "inf"}, "timeout_s.idle"),
    ({"TIMEOUT_S__TOTAL": "0"}, "timeout_s.total"),
    ({"API_REQUEST_TIMEOUT": "x"}, "timeout_s.first_byte.*API_REQUEST_TIMEOUT"),
    ({"RETRY__MAX_RETRIES": "many"}, "retry.max_retries"),
    ({"RETRY__MAX_RETRIES": "-1"}, "retry.max_retries"),
    ({"RETRY__MAX_RETRIES": "1.5"}, "retry.max_retries"),
    ({"API_KEY_MAPPING": "{CANARY"}, "api_key_mapping"),
    ({"API_KEY_MAPPING": "[1]"}, "api_key_mapping"),
    ({"API_KEY_MAPPING": '{"CANARY": 5}'}, "api_key_mapping"),
    ({"API_KEY_MAPPING": '{"CANARY": "a", "CANARY": "b"}'}, "twice"),
    ({"API_KEY_MAPPING": "[" * 100_000}, "api_key_mapping"),
    ({"CLIENT_API_KEYS": ","}, "client_api_keys.*no key"),
    ({"CLIENT_API_KEYS": '["CANARY", "CANARY2"]'}, "client_api_keys.*a JSON list.*separated by commas"),
    ({"CLIENT_API_KEYS": "CANARY"}, "OPENAI_API_KEY.*key-[0-9a-f]{8}"),
    ({"THINK__WHERE": "end"}, "think.where.*'end'.*'start'"),
    ({"THINK__MODE": "remove"}, "think.mode.*'remove'.*'strip'"),
    ({"STRIP_THINK_TAGS": "maybe"}, "STRIP_THINK_TAGS.*true or false"),
    ({"THINK_TAG": "x", "THINK_END_TAG": "x"}, "think.end_tag"),
    ({"CACHE__URL": "http://x"}, "cache.url.*'http://x'.*redis"),
    ({"CACHE__URL": "foo://user:CANARY@host"}, "cache.url"),
    ({"CACHE__URL": "redis://:CANARY/x@host/0"}, "cache.url"),
    ({"CACHE__URL": "redis://h/0?password=CANARY"}, "cache.url"),
    ({"CACHE__MAX_BYTES": "lots"}, "cache.max_bytes"),
    ({"RATE_LIMIT__URL": "memory:"}, "rate_limit.url"),
    ({"RATE_LIMIT__REQUESTS_PER_MINUTE": "x"}, "rate_limit.requests_per_minute"),
    ({"RATE_LIMIT__REQUESTS_PER_MINUTE": "0"}, "rate_limit.requests_per_minute"),
    ({"LIMITS__TARGET_BYTES": "-5"}, "limits.target_bytes"),
    ({"LOG_LEVEL": "loud"}, "log_level.*'loud'.*'debug'"),
    ({"UPSTREAM__CA_FILE": "/nonexistent/ca.pem"}, "upstream.ca_file.*/nonexistent/ca.pem"),
    ({"UPSTREAM__CA_FILE": __file__}, "no PEM file"),
    ({"OPENAI_API_KEY_FILE": "/nonexistent/key"}, "upstream.api_key.*OPENAI_API_KEY_FILE"),
    ({"OPENAI_API_KEY_FILE": "/dev/null"}, "empty"),
    ({"OPENAI_API_KEY_FILE": "/"}, "upstream.api_key"),
    ({"OPENAI_API_KEY_FILE": "/x", "OPENAI_API_KEY": "CANARY"}, "both"),
    ({"STORAGE_TYPE": "floppy"}, "storage.type.*STORAGE_TYPE"),
    ({"STORAGE_TYPE": "local"}, "LOCAL_LOG_DIR"),
    ({"STORAGE_TYPE": "azure"}, "AZURE_STORAGE"),
    ({"STORAGE_TYPE": "azure", "AZURE_STORAGE_CONTAINER": "c"}, "AZURE_STORAGE_ACCOUNT_NAME"),
    ({"PORT": "http"}, "ports.*PORT.*'http'"),
    ({"PORT": "70000"}, "PORT"),
    ({"PORTS": "tcp:70000:interface=::"}, "65535"),
    ({"ADMIN__PORT": "99999"}, "admin.port.*must be a Twisted server endpoint string"),
    ({"WORKERS": "0"}, "workers"),
    ({"DRAIN_TIMEOUT_S": "nan"}, "drain_timeout_s"),
    ({"OPENAI_PROXY_CONFIG": "none.toml"}, "none.toml"),
    ({"OPENAI_API_BASE": "sk-proj-CANARY0123456789"}, "upstream.base_url.*redacted"),
    ({"OPENAI_API_BASE": "CANARY:CANARY@h/v1"}, "upstream.base_url"),
    ({"OPENAI_API_BASE": "https://h/v1#CANARY"}, "fragment"),
    ({"PORT": "sk-CANARY0123456789"}, "ports.*redacted"),
    ({"PORTS": "tcp:-1"}, "65535"),
]

TOML = [
    ("[upstrem]\nbase_url='http://x'\n", r"upstrem \(from c.toml\).*upstream$"),
    ("[upstream]\nbase_ulr='http://x'\n", "base_ulr.*upstream.base_url$"),
    ("[rate_limit]\nrequests_per_minut=3\n", "rate_limit.requests_per_minute$"),
    ("[[keys]]\nname='a'\nkey='k'\nmodles=['x']\n", r"keys\[0\].modles.*keys\[0\].models$"),
    ("[[keys]]\nname='a'\nkey='k'\nlimits={requests=1}\n", r"keys\[0\].limits.requests "),
    ("openai_api_base='http://x'\n", "upstream.base_url$"),
    ("OPENAI_API_KEY='CANARY'\n", "upstream.api_key$"),
    ("[upstream]\ndebug=true\n", "log_level$"),
    ("not toml [[[", "c.toml.*line 1"),
    (f"workers={'9' * 5000}\n", "c.toml.*a number that is too long"),
    ("retry=3\n", "retry.*a table"),
    ("keys=3\n", r"keys.*\[\[keys\]\]"),
    ("upstreams=[3]\n", r"upstreams\[0\].*a table"),
    ("[retry]\nmax_retries='x'\n", "retry.max_retries"),
    ("[retry]\nmax_retries=true\n", "truth value"),
    ("observers=3\n", "observers"),
    ("[upstream]\napi_key=['CANARY']\n", "upstream.api_key"),
    ("[[keys]]\nname='x'\n", "key or key_sha256"),
    ("[[keys]]\nkey='CANARY'\n", r"keys\[0\].name.*missing"),
    ("[[keys]]\nname='x'\nkey_sha256='CANARY'\n", r"keys\[0\].key_sha256.*hex"),
    ("[[keys]]\nname='x'\nkey='CANARY'\nupstream_key='u'\nexpires='soon'\n", r"keys\[0\].expires.*a time"),
    ("[[keys]]\nname='x'\nkey='CANARY'\n", "client key x has neither"),
    ("[[keys]]\nname='x'\nkey='a'\n[[keys]]\nname='x'\nkey='b'\n", "taken"),
    ("[[keys]]\nname='x'\nkey='CANARY'\n[[keys]]\nname='y'\nkey='CANARY'\n", "'y' has the same key as 'x'"),
    ("[[upstreams]]\nname='x'\n", r"upstreams\[0\].base_url.*missing"),
    ("[[upstreams]]\nname='x'\nbase_url='http://a'\nweight=0\n", r"upstreams\[0\].weight"),
    ("[[models]]\nmatch='a'\nupstream='q'\n", r"models\[0\].upstream.*'q'"),
    ("[api_key_mapping]\na='CANARY b'\n", "api_key_mapping"),
    ("keys='CANARY'\n", r"keys.*text is not allowed.*\[\[keys\]\]"),
    ("keys=['CANARY']\n", r"keys\[0\].*text is not allowed.*a table"),
    ("[keys]\nsk-CANARY0123456789='alice'\n", r"keys.*\[\[keys\]\]"),
    ("[upstream]\nsk-CANARY0123456789=1\n", r"upstream.\[redacted\].*unknown"),
    ("[[upstreams]]\nname='a'\nurl='http://a'\n", r"upstreams\[0\].url.*upstreams\[0\].base_url$"),
    ("[[models]]\nmatch='a'\nthink='remove'\n", r"models\[0\].think.mode.*'remove'.*'strip'"),
    ("[[models]]\nmatch='a'\nthink=3\n", r"models\[0\].think .*a table$"),
    ("[[models]]\nmatch='a'\nthink={start_tag='</think>'}\n", r"models\[0\].think.end_tag \(from c.toml\)"),
    ("ports=true\n", "ports"),
]


def refusal(tmp_path, environ, options=None):
    with pytest.raises(SettingsError) as caught:
        load_settings(options or {}, environ, tmp_path)
    text = str(caught.value)
    assert "CANARY" not in text
    assert "\n" not in text
    assert caught.value.__cause__ is None
    return text


@pytest.mark.parametrize(("environ", "pattern"), VARIABLES, ids=lambda item: str(item)[:40])
def test_bad_variable(tmp_path, environ, pattern):
    """The line names the setting, the variable and what is allowed."""
    assert re.search(pattern, refusal(tmp_path, environ))


@pytest.mark.parametrize(("toml", "pattern"), TOML, ids=lambda item: item[:30].replace("\n", " "))
def test_bad_toml(tmp_path, toml, pattern):
    """Unknown keys name the nearest known one; wrong values name their place."""
    (tmp_path / "c.toml").write_text(toml)
    assert re.search(pattern, refusal(tmp_path, {}, {"config": "c.toml"}))


@pytest.mark.parametrize(
    ("name", "path"), [("CACHE__REDIS_URL", "cache.url"), ("RATE_LIMIT__URL", "rate_limit.url")]
)
def test_redis_without_its_library(tmp_path, monkeypatch, name, path):
    """An installation without the extra says which one is missing; it was a traceback."""
    monkeypatch.setattr("openai_proxy.settings.checks.find_spec", lambda module: None)
    line = f"{path} (from {name}): Redis needs the extra: pip install 'twisted-openai-proxy[redis]'"
    assert refusal(tmp_path, {name: "redis://:CANARY@h/0"}) == line


def test_broken_dotenv_names_its_line(tmp_path):
    """A line that is no assignment stops the start instead of being skipped."""
    (tmp_path / ".env").write_text("WORKERS=1\n= CANARY\n")
    assert "line 2" in refusal(tmp_path, {})


def test_directory_that_can_not_be_looked_into(tmp_path):
    """If nobody can know whether a .env has client keys, one line says so; it was a traceback."""
    assert "cannot look for" in refusal(tmp_path / ("x" * 300), {})


def test_named_env_file_must_exist(tmp_path):
    """A file that was asked for and is not there is no reason to go on without it."""
    assert "nope" in refusal(tmp_path, {}, {"env_file": "nope"})


@pytest.mark.parametrize(("name", "option"), [("config", "--config"), ("env_file", "--env-file")])
def test_file_option_without_a_name(tmp_path, name, option):
    """`--config "$FILE"`, the variable being empty, started an open proxy instead of the one with keys."""
    (tmp_path / "c.toml").write_text("")
    environ = {"OPENAI_PROXY_CONFIG": "c.toml"}
    assert refusal(tmp_path, environ, {name: ""}) == f"{option}: the name of the file is empty"


def test_bad_option_names_it(tmp_path):
    """The line says that the value came from the command line."""
    assert "workers (from --workers): 'x'" in refusal(tmp_path, {}, {"workers": "x"})


@given(
    name=st.sampled_from(
        ["API_KEY_MAPPING", "CLIENT_API_KEYS", "CACHE__URL", "OPENAI_API_BASE", "ADMIN__TOKEN"]
    ),
    junk=st.text(st.characters(exclude_characters="\x00"), max_size=20),
)
def test_any_text_is_taken_or_refused_without_the_secret(tmp_path_factory, name, junk):
    """Whatever stands beside a secret: no crash, and the secret is not repeated."""
    value = junk + ("//u:CANARY@h" if name.endswith(("URL", "BASE")) else "CANARY ") + junk
    line = ""
    try:
        load_settings({}, {name: value, "OPENAI_API_KEY": "sk-up"}, tmp_path_factory.getbasetemp())
    except SettingsError as error:
        line = str(error)
    assert "CANARY" not in line

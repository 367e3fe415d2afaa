"""Settings that look right and have no effect are reported at the start."""

import os

import pytest

from openai_proxy.settings import SettingsError, load_settings, warnings
from openai_proxy.settings.endpoint_hints import meant_endpoint
from openai_proxy.settings.hosts import is_public

KEY = '[[keys]]\nname = "al"\nkey = "k-0123456789abcdef"\nupstream_key = "sk-up"\n'
UPSTREAM = '[[upstreams]]\nname = "a"\nbase_url = "{}"\n'


def load(tmp_path, environ=None, toml=None, dotenv=None, **files):
    for name, text in ({"c.toml": toml, ".env": dotenv} | files).items():
        if text is not None:
            (tmp_path / name).write_text(text)
            (tmp_path / name).chmod(0o600)
    options = {"config": "c.toml"} if toml is not None else {}
    return load_settings(options, environ or {}, tmp_path)


def warned(tmp_path, *args, **kwargs):
    return warnings(load(tmp_path, *args, **kwargs))


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("CACHE_URL", "CACHE__URL"),
        ("RATE_LIMIT_REQUESTS_PER_MINUTE", "RATE_LIMIT__REQUESTS_PER_MINUTE"),
        ("OPENAI_API_BASE_URL", "OPENAI_API_BASE"),
        ("OPENAI_API_KEYS", "OPENAI_API_KEY"),
        ("CLIENT_API_KEY", "CLIENT_API_KEYS"),
        ("LOGLEVEL_", "LOG_LEVEL"),
        ("openai_api_key", "OPENAI_API_KEY"),
        ("TARGET_BASEURL", "TARGET_BASE_URL"),
    ],
)
@pytest.mark.parametrize("source", ["environment", ".env"])
def test_near_misses_name_what_was_meant(tmp_path, name, near, source):
    """One underscore too few closed no door and set no limit."""
    given = {"dotenv": f"{name}=secret-1\n"} if source == ".env" else {"environ": {name: "secret-1"}}
    (line,) = warned(tmp_path, **given)
    assert name in line
    assert line.endswith(f"is {near}")
    assert "secret-1" not in line


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "HOME",
        "LANG",
        "PORTAL",
        "OPENAI_ORG_ID",
        "OPENAI_ORGANIZATION",
        "OPENAI_PROJECT",
        "OPENAI_API_TYPE",
        "OPENAI_API_VERSION",
        "OPENAI_LOG",
        "AZURE_OPENAI_API_KEY",
        "AZURE_STORAGE_ACCOUNT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "HTTP_PROXY",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        "PYTHONPATH",
        "REDIS_URL",
        "WORKDIR",
        "OPENAI_PROXY_SERVICE_HOST",
        "XDG_CACHE_HOME",
        "OPENAI_PROXY_CONFIG",
    ],
)
def test_variables_of_others_are_left_alone(tmp_path, name):
    """A warning at every start that is none would hide those that are."""
    assert warned(tmp_path, {name: ""}) == ()


@pytest.mark.parametrize("name", ["REDIS_URL", "FOO", "OPENAI_API_TYPE"])
def test_every_unknown_name_in_dotenv_is_reported(tmp_path, name):
    """The file belongs only to the proxy."""
    (line,) = warned(tmp_path, dotenv=f"{name}=x\n")
    assert line.startswith(f"{name} in .env: unknown setting; the nearest known one is ")


@pytest.mark.parametrize(
    "given", [{"environ": {"OPENAI_BASE_URL": "http://x"}}, {"dotenv": "OPENAI_BASE_URL=x\n"}]
)
def test_the_clients_variable_is_not_read(tmp_path, given):
    """It often points at this very proxy."""
    (line,) = warned(tmp_path, **given)
    assert "is not read" in line
    assert line.endswith("did you mean OPENAI_API_BASE?")


@pytest.mark.parametrize(
    ("environ", "toml", "words"),
    [
        (
            {"OPENAI_API_BASE": "http://a:1/v1"},
            UPSTREAM.format("http://b:1/v1"),
            "upstream.base_url [[upstreams]]",
        ),
        ({"UPSTREAM__BASE_URL": "http://api.example.com"}, None, "api.example.com https"),
        ({}, UPSTREAM.format("http://8.8.8.8/v1"), "upstreams[0].base_url 8.8.8.8"),
        (
            {"OPENAI_API_BASE": "https://my.openai.azure.com"},
            None,
            "OPENAI_API_BASE my.openai.azure.com/openai/v1",
        ),
        (
            {"OPENAI_API_BASE": "https://openrouter.ai/v1"},
            None,
            "OPENAI_API_BASE https://openrouter.ai/api/v1",
        ),
        ({}, UPSTREAM.format("https://api.groq.com"), "upstreams[0].base_url api.groq.com/openai/v1"),
        ({"CACHE__URL": "redis://redis.example.com"}, None, "cache.url rediss"),
        ({}, KEY + "expires = 2020-01-01\n", "keys[0] al expired 2020-01-01"),
        ({}, KEY + "models = []\n", "keys[0] al models"),
        ({}, '[[cache.rules]]\nendpoint = "responses"\n', "cache.rules CACHE__URL"),
        ({"CACHE__SHARED": "true"}, None, "cache.shared CACHE__URL"),
        ({"CACHE__TTL_S__MODELS": "5"}, None, "cache.ttl_s.models CACHE__URL"),
        ({"CACHE__URL": "redis://r", "CACHE__MAX_BYTES": "5"}, None, "cache.max_bytes Redis"),
        ({"RATE_LIMIT__MAX_WAIT_S": "5"}, None, "rate_limit.max_wait_s limit"),
        ({"THINK__TRIM": "true"}, None, "think.trim keep"),
        ({"THINK_TAG": "<t>"}, None, "think.start_tag keep"),
        ({"THINK__WHERE": "start"}, None, "think.where keep"),
        ({"THINK__IMPLICIT_START": "true"}, None, "think.implicit_start keep"),
        ({}, '[[models]]\nmatch = "r1"\nthink = { trim = true }\n', "models[0].think.trim r1"),
        (
            {},
            '[[models]]\nmatch = "r1"\nthink = { implicit_start = true }\n',
            "models[0].think.implicit_start r1",
        ),
        ({"WORKERS": "2", "CACHE__URL": "memory:"}, None, "cache.url memory: workers"),
        ({"PORT": "8080", "ADMIN__PORT": "tcp:8080:interface=127.0.0.1"}, None, "admin.port tcp:8080"),
        ({"PORTS": "tcp:8080 ssl:8080:interface=0.0.0.0"}, None, "ports 8080"),
        ({"LOCAL_LOG_DIR": "logs"}, None, "storage.local_log_dir STORAGE_TYPE"),
        ({"HTTPS_PROXY": "http://u:CANARY@proxy:3128"}, None, "HTTPS_PROXY not used api.openai.com"),
        (
            {"all_proxy": "socks5://p"},
            UPSTREAM.format("https://api.groq.com/openai/v1"),
            "all_proxy api.groq.com",
        ),
        ({"https_proxy": "http://p", "NO_PROXY": "groq.com, x.example"}, None, "https_proxy api.openai.com"),
    ],
)
def test_contradictions_are_reported(tmp_path, environ, toml, words):
    """Each names the setting and where it came from, and the start goes on."""
    lines = warned(tmp_path, environ, toml)
    assert len(lines) == 1
    assert [word for word in words.split() if word not in lines[0]] == []
    assert "CANARY" not in lines[0]


@pytest.mark.parametrize(
    ("environ", "toml"),
    [
        ({"OPENAI_API_KEY": "sk", "OPENAI_API_BASE": "http://127.0.0.1:9/v1"}, None),
        ({"OPENAI_API_KEY": "sk", "OPENAI_API_BASE": "http://llm_server:8000/v1"}, None),
        ({"OPENAI_API_KEY": "sk", "OPENAI_API_BASE": "http://100.64.0.7/v1"}, None),
        ({"OPENAI_API_BASE": "http://b:1/other"}, UPSTREAM.format("http://b:1/v1")),
        ({"OPENAI_API_BASE": "https://my.openai.azure.com/openai"}, None),
        ({"OPENAI_API_BASE": "https://openrouter.ai/api/v1"}, None),
        ({}, UPSTREAM.format("http://127.0.0.1:8/v1")),
        ({"CACHE__URL": "memory:", "CACHE__MAX_BYTES": "5", "CACHE__SHARED": "true"}, None),
        ({"WORKERS": "2", "CACHE__URL": "redis://redis"}, None),
        ({"RATE_LIMIT__MAX_WAIT_S": "5", "RATE_LIMIT__CONCURRENT_REQUESTS": "2"}, None),
        ({"RATE_LIMIT__MAX_WAIT_S": "5"}, KEY + "limits = { concurrent_requests = 2 }\n"),
        ({"THINK__TRIM": "true", "THINK__MODE": "strip"}, None),
        ({"THINK__TRIM": "true"}, '[[models]]\nmatch = "r1"\nthink = "strip"\n'),
        ({"PORT": "8080", "ADMIN__PORT": "tcp:9090"}, None),
        ({"PORTS": "tcp:8080:interface=127.0.0.1 tcp:8080:interface=10.0.0.1"}, None),
        ({"PORTS": "tcp:0 tcp:0"}, None),
        ({}, KEY + "expires = 2999-01-01\n"),
        ({"HTTPS_PROXY": "http://p", "no_proxy": "a, .openai.com"}, None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": "", "HTTP_PROXY": "http://p"}, None),
        ({"http_proxy": "http://p", "OPENAI_API_BASE": "http://ollama:11434/v1"}, None),
        ({"ALL_PROXY": "http://p", "OPENAI_API_BASE": "mock:"}, None),
    ],
)
def test_what_is_right_is_not_warned_of(tmp_path, environ, toml):
    """No false alarm."""
    assert warned(tmp_path, environ, toml) == ()


@pytest.mark.parametrize(
    ("environ", "toml", "files", "words"),
    [
        ({"OPENAI_API_KEY": '"sk-CANARY"'}, None, {}, "OPENAI_API_KEY quotes"),
        ({"CLIENT_API_KEYS": "'a,b'"}, None, {}, "CLIENT_API_KEYS quotes"),
        ({"CLIENT_API_KEYS": '"sk-CANARY",b'}, None, {}, "CLIENT_API_KEYS quotes"),
        ({}, "[upstream]\napi_key = '\"sk-CANARY\"'\n", {}, "upstream.api_key quotes"),
        ({"OPENAI_API_KEY_FILE": "key"}, None, {"key": '"sk-CANARY"\n'}, "OPENAI_API_KEY_FILE quotes"),
        ({"OPENAI_API_KEY_FILE": "key"}, None, {"key": "OPENAI_API_KEY=sk-CANARY\n"}, "NAME=value"),
        ({"ADMIN__TOKEN_FILE": "key"}, None, {"key": "export TOKEN=sk-CANARY\n"}, "admin.token NAME=value"),
        ({"OPENAI_API_KEY": "OPENAI_API_KEY=sk-CANARY"}, None, {}, "OPENAI_API_KEY once more"),
        ({"OPENAI_API_KEY": "Bearer sk-CANARY"}, None, {}, "OPENAI_API_KEY Bearer"),
        ({"OPENAI_API_KEY": "sk-CANARY and more"}, None, {}, "OPENAI_API_KEY space"),
        ({"ADMIN__TOKEN_FILE": "key"}, None, {"key": "CANARY\nmore\n"}, "ADMIN__TOKEN_FILE line"),
        ({"API_KEY_MAPPING": "{}"}, None, {}, "API_KEY_MAPPING empty"),
        ({"OPENAI_API_KEY": "sk-CANARY"}, "client_api_keys = []\n", {}, "client_api_keys empty"),
        ({"OPENAI_API_KEY": "sk-CANARY"}, "keys = []\n", {}, "keys empty"),
        ({"OPENAI_API_BASE": "http://a/v1/chat/completions"}, None, {}, "OPENAI_API_BASE chat/completions"),
        ({}, UPSTREAM.format("https://a/v1/responses/"), {}, "upstreams[0].base_url responses"),
        ({"OBSERVERS": "console,json:-"}, None, {}, "OBSERVERS spaces console json:-"),
        ({"OBSERVERS": "json:-,console"}, None, {}, "OBSERVERS spaces"),
        ({}, KEY + "requests_per_minute = 60\n", {}, "keys[0].limits.requests_per_minute"),
        ({}, KEY + "tokens_per_minute = 60\n", {}, "keys[0].limits.tokens_per_minute"),
    ],
)
def test_values_that_look_right_stop_the_start(tmp_path, environ, toml, files, words):
    """One line that names the setting, without the secret."""
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, environ, toml, None, **files)
    assert [word for word in words.split() if word not in str(caught.value)] == []
    assert "CANARY" not in str(caught.value)


def test_a_line_end_after_a_secret_is_no_part_of_it(tmp_path):
    """Kubernetes' Secrets are often made with `echo`: the daemon did not start."""
    environ = {
        "OPENAI_API_KEY": "sk-a\n",
        "ADMIN__TOKEN": "token-0123456789\r\n",
        "CLIENT_API_KEYS": "sk-b,sk-c\n",
    }
    settings = load(tmp_path, environ, None, None)
    assert settings.upstream.api_key.get_secret_value() == "sk-a"
    assert settings.admin.token.get_secret_value() == "token-0123456789"
    assert [key.get_secret_value() for key in settings.client_api_keys] == ["sk-b", "sk-c"]


def test_a_secret_that_only_looks_odd_is_taken(tmp_path):
    """Base64 ends in `=`, and Azure's base ends in `/models`."""
    settings = load(
        tmp_path,
        {"OPENAI_API_KEY_FILE": "key", "OPENAI_API_BASE": "https://x.services.ai.azure.com/models"},
        key="AB_CDEFGH==\n",
    )
    assert settings.upstream.api_key.get_secret_value() == "AB_CDEFGH=="


@pytest.mark.parametrize("value", ["sk-${NOPE}x", "sk-a$HOME-1", "sk-${OTHER}"])
@pytest.mark.parametrize("quote", ["", '"', "'"])
def test_dollars_in_secrets_stand_for_themselves(tmp_path, value, quote):
    """python-dotenv made a key with a hole of them; elsewhere `${NAME}` still means a variable."""
    dotenv = f"OTHER=1\nOPENAI_API_KEY={quote}{value}{quote}\nUPSTREAM__VIA=a${{OTHER}}\n"
    settings = load(tmp_path, dotenv=dotenv)
    assert settings.upstream.api_key.get_secret_value() == value
    assert settings.upstream.via == "a1"
    found = [line for line in warnings(settings) if "taken as it is written" in line]
    assert len(found) == ("OTHER" in value)


def test_files_that_others_can_read(tmp_path):
    """`.env`, the TOML file and files of secrets, if they hold any."""
    environ = {"ADMIN__TOKEN_FILE": "token"}
    settings = {"toml": KEY, "dotenv": "OPENAI_API_KEY=sk-1\n", "token": "t\n"}
    assert warned(tmp_path, environ, **settings) == ()
    for name in ("c.toml", ".env", "token"):
        (tmp_path / name).chmod(0o644)
    lines = warnings(load_settings({"config": "c.toml"}, environ, tmp_path))
    assert sorted(line.split()[0].rpartition("/")[2] for line in lines) == [".env", "c.toml", "token"]
    assert all(line.endswith("chmod 600 it") for line in lines)


def test_files_without_secrets_may_be_read(tmp_path):
    """And those that Kubernetes has mounted, whose mode nobody chose."""
    (tmp_path / "c.toml").write_text("workers = 1\n")
    (tmp_path / ".env").write_text("WORKERS=1\n")
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "key").write_text("sk-1\n")
    os.symlink("..data/key", tmp_path / "key")
    for file in (".env", "c.toml", "key"):
        (tmp_path / file).chmod(0o644)
    settings = load_settings({"config": "c.toml"}, {"OPENAI_API_KEY_FILE": "key"}, tmp_path)
    assert warnings(settings) == ()


@pytest.mark.parametrize(
    ("dotenv", "environ", "is_warned"),
    [
        ("OPENAI_API_BASE=http://127.0.0.1:9\n", {"OPENAI_API_KEY": "sk-1"}, True),
        ("OPENAI_API_BASE=http://127.0.0.1:9\nOPENAI_API_KEY=sk-1\n", {}, False),
        ("OPENAI_API_BASE=http://127.0.0.1:9\n", {}, False),
        ("WORKERS=1\n", {"OPENAI_API_KEY": "sk-1", "OPENAI_API_BASE": "http://127.0.0.1:9"}, False),
    ],
)
def test_an_upstream_of_the_working_directory(tmp_path, dotenv, environ, is_warned):
    """Whoever writes a .env there would get a key that comes from elsewhere."""
    lines = warned(tmp_path, environ, dotenv=dotenv)
    assert [".env" in line and "OPENAI_API_KEY" in line for line in lines] == [True] * is_warned


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8080", "tcp:8080:interface=127.0.0.1"),
        ("localhost:8080", "tcp:8080:interface=127.0.0.1"),
        (":8080", "tcp:8080"),
        ("0.0.0.0:80", "tcp:80"),
        ("[::1]:8080", r"tcp6:8080:interface=\:\:1"),
        ("[::]:8080", "tcp6:8080"),
        ("http://10.0.0.1:80/", "tcp:80:interface=10.0.0.1"),
        ("tcp://0.0.0.0:80", "tcp:80"),
        ("https://a:80", None),
        ("ssl:8443", None),
        ("127.0.0.1:99999", None),
        ("unix:/run/p.sock", None),
    ],
)
def test_addresses_become_endpoint_strings(text, expected):
    """`--port 127.0.0.1:8080` is what other programs take."""
    assert meant_endpoint(text) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("api.openai.com", True),
        ("1.1.1.1", True),
        ("2606:4700::1", True),
        ("localhost", False),
        ("redis_cache", False),
        ("10.1.2.3", False),
        ("169.254.1.1", False),
        ("::1", False),
        ("fd00::1", False),
        ("llm.default.svc.cluster.local", False),
        ("box.lan.", False),
    ],
)
def test_public_hosts(host, expected):
    """What leaves the house should be encrypted."""
    assert is_public(host) is expected

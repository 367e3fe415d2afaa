"""Upstreams that are no servers, as the settings choose them."""

import json

import pytest
from daemon.test_exchanger import build, process_parts
from fakes import delivered, exchange, results_of, through

from openai_proxy.daemon.upstream_report import upstream_report
from openai_proxy.exchange.access_errors import InvalidKey, MissingCredentials
from openai_proxy.exchange.messages import ProxyRequest
from openai_proxy.settings import SettingsError, load_settings


def asked(exchanger, *headers, model="mock-echo"):
    """Return status and text of what a chat gets, or the error's class."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]}).encode()
    pairs = [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(body)), *headers]
    request = ProxyRequest(
        b"POST",
        b"/chat/completions",
        pairs,
        body,
        exchange(endpoint="chat/completions"),
        buffered=True,
        required=("model", "messages"),
        endpoint="chat/completions",
    )
    running = through(exchanger.forward, request)
    ends = results_of(running)
    if not ends:  # it has gone to a server
        running.cancel()
        return None
    if isinstance(ends[0], Exception):
        return type(ends[0])
    return ends[0].status, request.exchange.upstream, b'"hi"' in delivered(ends[0].body).data


def configured(tmp_path, toml, **environ):
    (tmp_path / "c.toml").write_text(toml)
    return build(tmp_path, OPENAI_PROXY_CONFIG="c.toml", **environ)


KEY = (b"Authorization", b"Bearer mine")


@pytest.mark.parametrize("environ", [{}, {"OPENAI_API_KEY": "sk-up"}, {"AUTH__REQUIRED": "true"}])
def test_nobody_needs_a_key_for_the_mock(tmp_path, environ):
    """Whatever the environment has for another upstream."""
    exchanger = build(tmp_path, OPENAI_API_BASE="mock:", **environ)
    assert asked(exchanger) == (200, "default", True)
    assert asked(exchanger, KEY) == (200, "default", True)
    assert exchanger.risk == "call the upstream, which needs no key"


def test_client_keys_are_asked_for_where_there_are_some(tmp_path):
    """And no upstream key beside them."""
    exchanger = build(tmp_path, OPENAI_API_BASE="mock:", CLIENT_API_KEYS="mine")
    assert asked(exchanger) is MissingCredentials
    assert asked(exchanger, (b"Authorization", b"Bearer other")) is InvalidKey
    assert asked(exchanger, KEY) == (200, "default", True)
    assert exchanger.risk is None


def test_web_pages_of_others_may_not_call(tmp_path):
    """As in inject mode: nobody is asked for a key that a page does not have."""
    assert build(tmp_path, OPENAI_API_BASE="mock:").web_origins.guards
    assert not build(tmp_path).web_origins.guards


MIXED = """
[[upstreams]]
name = "real"
base_url = "http://127.0.0.1:9/v1"
[[upstreams]]
name = "made"
base_url = "mock:"
priority = 1
[[models]]
match = "mock-*"
upstream = "made"
"""


def test_a_mock_stands_beside_servers(tmp_path):
    """Requests are routed by their model; the key of the server is asked for."""
    exchanger = configured(tmp_path, MIXED)
    assert asked(exchanger) is MissingCredentials
    assert asked(exchanger, KEY) == (200, "made", True)
    assert asked(exchanger, KEY, model="gpt-4o") is None
    assert (list(exchanger.origins), list(exchanger.serverless.forwards)) == (["real"], ["made"])
    assert exchanger.risk is None


def test_a_mock_takes_over_where_a_server_is_the_default(tmp_path):
    """With a key in the environment, and a model of another name."""
    toml = MIXED + "[[models]]\nmatch = 'gpt-*'\nupstream = 'made'\nupstream_model = 'mock-echo'\n"
    exchanger = configured(tmp_path, toml, OPENAI_API_KEY="sk-up")
    assert asked(exchanger, model="gpt-4o") == (200, "made", True)


def test_one_mock_maps_models(tmp_path):
    """Names of models are changed without [[upstreams]] too."""
    toml = "[[models]]\nmatch = 'gpt-*'\nupstream_model = 'mock-echo'\n"
    assert asked(configured(tmp_path, toml, OPENAI_API_BASE="mock:"), model="gpt-4o") == (
        200,
        "default",
        True,
    )


def test_keys_of_tenants_work_if_only_servers_need_one(tmp_path):
    """A mock is no upstream without a key."""
    toml = MIXED.replace('/v1"', '/v1"\napi_key = "sk-real"') + "[[keys]]\nname = 'a'\nkey = 'mine'\n"
    assert asked(configured(tmp_path, toml), KEY) == (200, "made", True)
    with pytest.raises(SettingsError, match="api_key"):
        configured(tmp_path, MIXED + "[[keys]]\nname = 'a'\nkey = 'mine'\n")


def test_it_is_always_reachable(tmp_path):
    """For /health, and for the metrics."""
    exchanger = build(tmp_path, OPENAI_API_BASE="mock:latency_s=1")
    answers = []
    exchanger.reachability.ask().addCallback(answers.append)
    assert (answers, exchanger.reachability.url) == ([True], "mock:latency_s=1")
    assert upstream_report(exchanger, process_parts().circuits).up == {"default": True}


def test_what_was_uploaded_outlives_a_reload(tmp_path):
    """The memory is that of the process."""
    parts = process_parts()
    first, second = (build(tmp_path, parts, OPENAI_API_BASE=url) for url in ("mock:", "mock:latency_s=0"))
    assert first is not second
    parts.mock_memory.keep_response("resp_1", b"{}", b"{}")
    request = ProxyRequest(b"GET", b"/responses/resp_1", [], None, exchange(), endpoint="responses/{id}")
    ends = []
    through(second.forward, request).addBoth(ends.append)
    assert ends[0].status == 200


@pytest.mark.parametrize("url", ["mock:latency=1", "mock://x", "MOCK:error_rate=7", "mock"])
def test_a_url_that_is_wrong_stops_the_start(tmp_path, url):
    """In one line that names the setting."""
    with pytest.raises(SettingsError, match=r"upstream\.base_url"):
        load_settings({}, {"OPENAI_API_BASE": url}, tmp_path)


def test_several_workers_have_files_of_their_own(tmp_path):
    """Which is said."""
    warnings = build(tmp_path, OPENAI_API_BASE="mock:", WORKERS="2").warnings
    assert any("each worker has uploaded files" in line for line in warnings)


# ---- replays


def record(directory, content="hi"):
    """Put a line into a directory that answers the chat which `asked` sends."""
    directory.mkdir(exist_ok=True)
    body = {"model": "mock-echo", "messages": [{"role": "user", "content": "hi"}]}
    line = {
        "timestamp": "2026-01-01",
        "request": {"method": "POST", "path": "/v1/chat/completions", "headers": {}, "body": body},
        "response": {"status_code": 200, "headers": {}, "body": {"content": content}},
        "outcome": "complete",
    }
    (directory / "a.jsonl").write_text(json.dumps(line) + "\nno line\n")


def test_a_replay_asks_nobody_for_a_key(tmp_path):
    """It is reachable, says how much it has, and warns of what it cannot read."""
    record(tmp_path / "c")
    exchanger = build(tmp_path, OPENAI_API_BASE="replay:c")
    assert asked(exchanger) == (200, "default", True)
    assert exchanger.serverless.recorded == 1
    assert "a.jsonl:2 is no line of an exchange log: not replayed" in exchanger.warnings
    assert build(tmp_path, OPENAI_API_BASE="mock:").serverless.recorded is None
    assert exchanger.risk == "call the upstream, which needs no key"


@pytest.mark.parametrize("url", ["replay:none", "replay:empty", "replay:", "replay:a.jsonl"])
def test_a_directory_without_answers_stops_the_start(tmp_path, url):
    """In one line."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.jsonl").write_text("")
    with pytest.raises(SettingsError, match="replay:") as caught:
        build(tmp_path, OPENAI_API_BASE=url)
    assert "\n" not in str(caught.value)


def test_many_broken_lines_are_few_warnings(tmp_path):
    """The log of a start stays readable."""
    record(tmp_path / "c")
    with (tmp_path / "c" / "a.jsonl").open("a") as file:
        file.write("no line\n" * 100)
    warnings = build(tmp_path, OPENAI_API_BASE="replay:c").warnings
    assert len([line for line in warnings if "not replayed" in line]) == 21
    assert any(line.startswith("and 81 more lines") for line in warnings)


LIVE = {"REPLAY__MISS": "live", "REPLAY__LIVE_URL": "http://127.0.0.1:9/v1"}


def test_what_was_not_recorded_goes_live_with_the_key(tmp_path):
    """Which is for the live upstream, and is put in as for any."""
    record(tmp_path / "c")
    exchanger = build(tmp_path, OPENAI_API_BASE="replay:c", OPENAI_API_KEY="sk-up", **LIVE)
    assert asked(exchanger) == (200, "default", True)
    assert asked(exchanger, model="other") is None
    assert exchanger.risk == "spend the upstream key"
    assert exchanger.origins == {}
    without = build(tmp_path, OPENAI_API_BASE="replay:c")
    assert asked(without, model="other")[0] == 404


def test_keys_of_clients_need_one_for_the_live_upstream(tmp_path):
    """As with any server."""
    record(tmp_path / "c")
    with pytest.raises(SettingsError, match="api_key"):
        build(tmp_path, OPENAI_API_BASE="replay:c", CLIENT_API_KEYS="mine", **LIVE)
    assert asked(build(tmp_path, OPENAI_API_BASE="replay:c", CLIENT_API_KEYS="mine"), KEY) == (
        200,
        "default",
        True,
    )


def test_a_replay_among_several_has_its_own_key(tmp_path):
    """Routing sends it what is for the live upstream."""
    record(tmp_path / "c")
    toml = MIXED.replace('"mock:"', '"replay:c"').replace("mock-*", "*")
    toml += "[replay]\nmiss = 'live'\nlive_url = 'http://127.0.0.1:9/v1'\n"
    exchanger = configured(tmp_path, toml)
    assert asked(exchanger, KEY) == (200, "made", True)
    assert asked(exchanger, KEY, model="other") is None


@pytest.mark.parametrize(
    "toml",
    [
        "miss = 'live'",
        "miss = 'other'",
        "live_url = 'mock:'",
        "timing = -1",
        "timing = 'slow'",
        "repeat = 'no'",
        "[[replay.faults]]\nkind = 'status:200'",
        "[[replay.faults]]\nkind = 'status:429'\nrate = 2",
        "[[replay.faults]]\nrate = 1",
    ],
)
def test_settings_of_replays_that_are_wrong_stop_the_start(tmp_path, toml):
    """Each by its name."""
    record(tmp_path / "c")
    with pytest.raises(SettingsError, match=r"replay\."):
        configured(tmp_path, "[replay]\n" + toml, OPENAI_API_BASE="replay:c")


@pytest.mark.parametrize(("text", "pace"), [("fast", 0.0), ("REAL", 1.0), ("2.5", 2.5)])
def test_timing_is_a_word_or_a_factor(tmp_path, text, pace):
    """In the environment too."""
    assert load_settings({}, {"REPLAY__TIMING": text}, tmp_path).replay.timing == pace

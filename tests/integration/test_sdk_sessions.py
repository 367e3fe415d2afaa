"""The WebSocket sessions of openai-python, eight lanes at once and Realtime, through a daemon in each mode."""

import pytest
from world.agent_upstream import INPUT_TOKENS, OUTPUT_TOKENS, AgentUpstream, prices
from world.daemon import configured
from world.exchange_lines import exchange_lines
from world.pages import metrics, total
from world.sdk_sessions import LANES, realtime, responses_in_lanes
from world.taps import Tap
from world.upstream import Upstream
from world.waiting import eventually

# openai's library opens its connection as websockets 17 would rather not have it
pytestmark = pytest.mark.filterwarnings(
    "ignore:connect\\(\\) must be used as a context manager:DeprecationWarning"
)
COUNTED = f"""{prices(50)}
[rate_limit]
requests_per_minute = 10000
tokens_per_minute = 10000000
concurrent_requests = 8
"""
KEYS = COUNTED + '[[keys]]\nname = "agent"\nkey = "sk-own"\nendpoints = ["*"]\n'
DEFAULT = {"OPENAI_API_KEY": "sk-up"}
MODES = {"inject": (COUNTED, DEFAULT), "tenants": (KEYS, DEFAULT), "pass-through": (COUNTED, {})}


@pytest.fixture
def scene(start, tmp_path):
    """Start a daemon between two taps, before an upstream that plays a model."""
    opened = []

    def started(toml, env):
        upstream = Upstream()
        upstream.script = model = AgentUpstream()
        behind = Tap(upstream.port)
        opened.append(behind)
        daemon = start(
            upstream,
            url=f"http://127.0.0.1:{behind.port}/v1",
            directory=tmp_path,
            **configured(tmp_path, toml),
            env={"OBSERVERS": "exchange-log:dir=logs", **env},
        ).daemon
        before = Tap(daemon.port)
        opened.append(before)
        return daemon, model, before, behind

    yield started
    for tap in opened:
        tap.close()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("session", "turns"), [(responses_in_lanes, 3 * LANES), (realtime, 3)])
def test_each_turn_of_a_session_is_one_exchange(scene, tmp_path, mode, session, turns):
    """One line, one count, one price for each; the bytes are those of the SDK and of the upstream."""
    toml, env = MODES[mode]
    daemon, model, before, behind = scene(toml, env)
    seen = session(f"http://127.0.0.1:{before.port}/v1", "sk-own", 3)
    assert (seen.turns, seen.errors) == (turns, [])
    assert len(model.turns) == turns
    [credential] = model.credentials
    assert credential == ("Bearer sk-own" if mode == "pass-through" else "Bearer sk-up")
    assert eventually(lambda: before.websockets == behind.websockets)
    [(up, down)] = behind.websockets.values()
    assert up
    assert down
    assert eventually(lambda: len(exchange_lines(tmp_path / "logs", "WS")) == turns)
    for line in exchange_lines(tmp_path / "logs", "WS"):
        usage = line["usage"]
        assert (usage["input_tokens"], usage["output_tokens"]) == (INPUT_TOKENS, OUTPUT_TOKENS)
        sound = (usage.get("audio_input_tokens"), usage.get("audio_output_tokens"))
        assert sound == ((60, 15) if session is realtime else (None, None))
        assert (line["outcome"], line["cost_usd"]) == ("complete", pytest.approx(0.001))
    page = metrics(daemon.port)
    assert total(page, "openai_proxy_websocket_turns_total") == turns
    assert total(page, "openai_proxy_tokens_total") == turns * (INPUT_TOKENS + OUTPUT_TOKENS)


@pytest.mark.parametrize("session", [responses_in_lanes, realtime])
def test_a_spent_budget_is_reported_in_the_session(scene, session):
    """As an error event that the SDK reads; the turns before it were answered."""
    daemon, model, *_ = scene(KEYS + "budget_usd = 0.002\n", DEFAULT)
    lanes = LANES if session is responses_in_lanes else 1
    seen = session(f"http://127.0.0.1:{daemon.port}/v1", "sk-own", 5)
    assert (
        2 <= seen.turns <= 2 + lanes - 1
    )  # two that spend it, and those that run in the other lanes meanwhile
    assert len(model.turns) == seen.turns
    assert all(error.startswith("insufficient_quota: The budget of 'agent'") for error in seen.errors)
    assert len(seen.errors) == lanes

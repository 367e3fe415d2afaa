"""Costs, budgets and totals of real daemons: over restarts, together, over reloads."""

import contextlib
import csv
import io
import json
import signal
import threading

import pytest
from world.client import Client, ask
from world.daemon import configured
from world.exchange_lines import exchange_lines
from world.pages import metrics, total
from world.requests import post
from world.scripts import COMPLETION, answer, delta, events, stream
from world.waiting import PATIENCE_S, eventually

PRICES = """
[[cost.prices]]
match = "m"
input_usd_per_million = 0
output_usd_per_million = 1000000   # a dollar for each token
"""


def budget(usd, name="alice"):
    return f'[[keys]]\nname = "{name}"\nkey = "{name}-key"\nbudget_usd = {usd}\nbudget_period = "month"\n'


def settings(directory, *parts, **env):
    """Return the options of a daemon in `directory` with a key of the upstream's."""
    toml = "\n".join([PRICES, *parts])
    return {
        "directory": directory,
        **configured(directory, toml),
        "env": {"OPENAI_API_KEY": "sk-up", "OBSERVERS": "none", **env},
    }


def asking(max_tokens=None, key="alice", **members):
    document = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **members}
    if max_tokens is not None:
        document["max_tokens"] = max_tokens
    return post(f"{key}-key", document)


def using(tokens, model="m"):
    """Return a script whose answers, by `model`, used so many output tokens."""
    usage = {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens}
    return answer(document={**COMPLETION, "model": model, "usage": usage})


def page(port, path, *headers):
    lines = [f"GET {path} HTTP/1.1", "Host: proxy", *headers, "", ""]
    return ask(port, "\r\n".join(lines).encode())


def usage_of(world):
    return json.loads(page(world.port, "/admin/usage").body)


def held(script, release):
    """Follow `script` once `release` is set."""

    def wait(call):
        call.read_body()
        release.wait(2 * PATIENCE_S)
        script(call)

    return wait


def test_fifty_parallel_requests_keep_one_budget_to_the_cent(start, tmp_path):
    """What runs counts as spent: ten are let in, forty get 429."""
    world = start(**settings(tmp_path, budget(10)))
    release = threading.Event()
    world.upstream.script = held(using(1), release)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(world.port)) for _ in range(50)]
        for client in clients:
            client.send(asking(max_tokens=1))
        assert eventually(lambda: usage_of(world)["budgets"][0]["reserved_usd"] == 10.0)
        release.set()
        statuses = [client.response().status for client in clients]
    assert (statuses.count(200), statuses.count(429)) == (10, 40)
    assert eventually(lambda: usage_of(world)["budgets"][0]["spent_usd"] == 10.0)
    assert usage_of(world)["total"]["requests"] == 10


def test_a_spent_budget_is_429_for_good(start, tmp_path):
    """In OpenAI's form, and SDKs are asked not to retry; other keys go on."""
    world = start(**settings(tmp_path, budget(3), budget(3, "bob")))
    world.upstream.script = using(2)
    assert [ask(world.port, asking()).status for _ in range(3)] == [200, 200, 429]
    refused = ask(world.port, asking())
    assert refused.error["type"] == refused.error["code"] == "insufficient_quota"
    assert refused.header(b"x-should-retry") == b"false"
    assert ask(world.port, asking(key="bob")).status == 200
    assert b'rate_limited_total{kind="budget"} 2.0' in page(world.port, "/metrics").body


@pytest.mark.parametrize("last", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_keeps_what_was_spent(start, tmp_path, last):
    """Stopped or killed: the money is gone, and the totals are there."""
    world = start(**settings(tmp_path, budget(3)))
    world.upstream.script = using(3)
    assert ask(world.port, asking()).status == 200
    assert eventually(lambda: usage_of(world)["budgets"][0]["spent_usd"] == 3.0)
    assert usage_of(world)["total"]["cost_usd"] == 3.0
    world.daemon.signal(last)
    assert world.daemon.wait_until_gone()
    again = start(**settings(tmp_path, budget(3)))
    assert ask(again.port, asking()).status == 429
    document = usage_of(again)
    assert (document["since"], document["total"]["cost_usd"]) == (None, 3.0)


def test_two_daemons_over_one_file_share_a_budget(start, tmp_path):
    """As several processes of one machine do."""
    second = tmp_path / "second"
    second.mkdir()
    shared = str(tmp_path / "shared.sqlite3")
    worlds = [
        start(**settings(directory, budget(4), COST__STATE_FILE=shared)) for directory in (tmp_path, second)
    ]
    for world in worlds:
        world.upstream.script = using(2)
        assert ask(world.port, asking()).status == 200
        assert eventually(lambda world=world: usage_of(world)["budgets"][0]["reserved_usd"] == 0.0)
    assert [ask(world.port, asking()).status for world in worlds] == [429, 429]
    assert [usage_of(world)["total"]["cost_usd"] for world in worlds] == [4.0, 4.0]


def test_two_daemons_over_one_redis_share_a_budget(start, tmp_path, redis):
    """As several machines do."""
    second = tmp_path / "second"
    second.mkdir()
    worlds = [
        start(**settings(directory, budget(4), RATE_LIMIT__URL=redis.url)) for directory in (tmp_path, second)
    ]
    for world in worlds:
        assert eventually(lambda world=world: "connected to Redis" in world.daemon.log)
        world.upstream.script = using(4)
    assert ask(worlds[0].port, asking()).status == 200

    def shared():
        # the first writes to Redis again what it could not write when Redis was too slow
        return usage_of(worlds[0]) and usage_of(worlds[1])["budgets"][0]["spent_usd"] == 4.0

    assert eventually(shared)
    assert ask(worlds[1].port, asking()).status == 429


def test_a_reload_changes_budgets_and_keeps_what_was_spent(start, tmp_path):
    """A raised budget lets go on at once; one taken away is no limit any more."""
    world = start(**settings(tmp_path, budget(2)))
    world.upstream.script = using(2)
    assert ask(world.port, asking()).status == 200
    assert ask(world.port, asking()).status == 429
    for number, (part, status) in enumerate(
        [(budget(3), 200), (budget(4), 429), (budget(4).split("budget_usd")[0], 200)], 1
    ):
        configured(tmp_path, f"{PRICES}\n{part}")
        world.daemon.signal(signal.SIGHUP)
        assert eventually(lambda count=number: world.daemon.log.count("configuration reloaded") == count)
        assert ask(world.port, asking()).status == status


def test_answers_from_the_cache_cost_nothing_and_pass_a_spent_budget(start, tmp_path):
    """Nobody is paid for them."""
    world = start(**settings(tmp_path, budget(2), CACHE__URL="memory:"))
    world.upstream.script = using(2)
    repeated = asking(temperature=0, seed=1)
    assert ask(world.port, repeated).status == 200
    assert ask(world.port, asking()).status == 429
    hit = ask(world.port, repeated)
    assert (hit.status, hit.header(b"x-cache")) == (200, b"hit")
    assert usage_of(world)["total"] == {**usage_of(world)["total"], "cached_requests": 1, "cost_usd": 2.0}


def test_streams_are_asked_for_their_usage_and_charged_by_it(start, tmp_path):
    """The client that did not ask sees no usage; its key pays all the same."""
    world = start(**settings(tmp_path, budget(5)))
    counted = {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": []}
    usage = {"prompt_tokens": 1, "completion_tokens": 5, "total_tokens": 6}
    world.upstream.script = stream(*events(delta("a"), {**counted, "usage": usage}))
    answer = ask(world.port, asking(stream=True))
    assert answer.status == 200
    assert b"usage" not in answer.body
    assert b'"include_usage":true' in world.upstream.calls[-1].body.replace(b" ", b"")
    assert ask(world.port, asking(stream=True)).status == 429


def test_costs_stand_in_log_lines_metrics_and_totals(start, tmp_path):
    """The same number everywhere; unknown is null, never nothing."""
    may_be_unknown = budget(50) + 'unpriced = "allow"\n'
    world = start(**settings(tmp_path, may_be_unknown, OBSERVERS="json:- console exchange-log:dir=logs"))
    for model in ("m", "gpt-4o-mini", "nobody-knows"):
        world.upstream.script = using(2, model)
        assert ask(world.port, asking(model=model)).status == 200
    lines = {line["model"]: line["cost_usd"] for line in exchange_lines(tmp_path / "logs")}
    assert lines["m"] == 2.0
    assert lines["gpt-4o-mini"] == pytest.approx((5 * 0.15 + 2 * 0.6) / 1e6)
    assert lines["nobody-knows"] is None
    assert eventually(lambda: world.daemon.log.count(" cost=") == 3)
    assert "cost=$2.000000" in world.daemon.log
    assert eventually(lambda: '"cost_usd":2.0' in world.daemon.log)
    assert b'openai_proxy_cost_usd_total{model="m"} 2.0' in page(world.port, "/metrics").body
    document = usage_of(world)
    assert document["total"]["cost_usd"] == pytest.approx(2.0 + lines["gpt-4o-mini"])
    assert document["total"]["unpriced_requests"] == 1
    table = list(csv.DictReader(io.StringIO(page(world.port, "/admin/usage?format=csv").body.decode())))
    assert {row["model"]: float(row["cost_usd"]) for row in table}["m"] == 2.0
    assert {row["key"] for row in table} == {"alice"}


def test_the_totals_are_for_who_has_the_token(start, tmp_path):
    """And if admin.port is set, they are only there."""
    env = {"ADMIN__TOKEN": "let-me-in", "ADMIN__PORT": "tcp:0:interface=127.0.0.1"}
    world = start(**settings(tmp_path, budget(5), **env))
    assert eventually(lambda: len(world.daemon.listening) == 2)
    pages = [int(address.rpartition(":")[2]) for address in world.daemon.listening]
    api, admin = pages
    if page(api, "/metrics").status == 200:
        api, admin = admin, api
    assert page(api, "/admin/usage", "Authorization: Bearer let-me-in").status == 404
    assert page(admin, "/admin/usage").error["code"] == "missing_api_key"
    assert page(admin, "/admin/usage", "Authorization: Bearer nope").error["code"] == "invalid_api_key"
    shown = page(admin, "/admin/usage", "Authorization: Bearer let-me-in", "Accept: text/csv")
    assert (shown.status, shown.header(b"content-type")) == (200, b"text/csv; charset=utf-8")
    assert "let-me-in" not in world.daemon.log


def test_with_nothing_configured_there_are_totals_and_no_file(start, tmp_path):
    """A laptop's daemon answers on loopback and leaves no file."""
    world = start(directory=tmp_path)
    world.upstream.script = using(2)
    assert ask(world.port, asking()).status == 200
    document = usage_of(world)
    assert document["total"]["requests"] == 1
    assert document["since"] is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stdout"]


def test_a_file_that_can_not_be_used_stops_the_start_in_one_line(start, tmp_path):
    """Budgets that nobody keeps are none."""
    (tmp_path / "notes.txt").write_text("not a database at all, but long enough to be one\n" * 50)
    with pytest.raises(AssertionError) as failed:
        start(**settings(tmp_path, budget(5), COST__STATE_FILE="notes.txt"))
    assert "cost.state_file" in str(failed.value)
    assert "file is not a database" in (tmp_path / "stdout").read_text()
    assert "Traceback" not in (tmp_path / "stdout").read_text()


def test_workers_share_a_budget_and_the_totals(start, tmp_path):
    """Whichever process takes a connection, the money is the same."""
    world = start(**settings(tmp_path, budget(10), WORKERS="2"))
    world.upstream.script = using(1)
    statuses = [ask(world.port, asking(max_tokens=1)).status for _ in range(30)]
    assert (statuses.count(200), statuses.count(429)) == (10, 20)
    assert eventually(lambda: usage_of(world)["total"]["cost_usd"] == 10.0)
    assert eventually(lambda: usage_of(world)["budgets"][0]["spent_usd"] == 10.0)


def test_an_error_in_the_middle_of_a_stream_is_recorded_everywhere_and_what_was_used_is_paid(start, tmp_path):
    """It was recorded as complete: no line, no metric and no record said that the client got an error."""
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    broken = events(
        delta("one"),
        {**delta("two"), "usage": usage},
        {"error": {"message": "gone", "code": 502}},
        done=False,
    )
    options = settings(
        tmp_path, budget(10), OBSERVERS="console json:file=lines.json exchange-log:dir=exchanges"
    )
    world = start(**options)
    world.upstream.begin(stream(*broken))
    response = ask(world.port, asking(stream=True, stream_options={"include_usage": True}))
    assert (response.status, response.whole, response.body) == (200, True, b"".join(broken))
    assert eventually(lambda: " POST " in world.daemon.log)
    assert eventually(lambda: (tmp_path / "lines.json").read_text().endswith("\n"))
    (line,) = [line for line in world.daemon.log.splitlines() if " POST " in line]
    assert " upstream_error " in line
    assert "code=502" in line
    record = json.loads((tmp_path / "lines.json").read_text())
    assert (record["status"], record["outcome"], record["error_code"], record["cost_usd"]) == (
        200,
        "upstream_error",
        "502",
        2.0,
    )
    (kept,) = [json.loads(each.read_text()) for each in (tmp_path / "exchanges").glob("alice_*.jsonl")]
    assert (kept["outcome"], kept["usage"]["output_tokens"], kept["cost_usd"]) == ("upstream_error", 2, 2.0)
    metrics = page(world.port, "/metrics").body.decode()
    assert 'outcome="upstream_error"' in metrics
    (errors,) = [line for line in metrics.splitlines() if "error_in_stream" in line]
    assert errors.startswith("openai_proxy_upstream_errors_total{")
    assert errors.endswith(" 1.0")
    (standing,) = usage_of(world)["budgets"]
    assert (standing["spent_usd"], standing["reserved_usd"]) == (2.0, 0.0)


BACKGROUND = {"id": "resp_1", "object": "response", "status": "queued", "model": "m", "usage": None}
"""What an upstream answers at once to a background response."""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_background_response_of_a_key_without_a_budget_is_counted_once_over_a_restart(
    start, tmp_path, workers
):
    """Whichever process is asked for it: what one of them remembered was lost, or counted by each."""
    key = '[[keys]]\nname = "alice"\nkey = "alice-key"\n'
    options = settings(tmp_path, key, COST__STATE_FILE="state.sqlite3", WORKERS=workers)
    usage = {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8}

    def follow(call):
        sent = call.read_body()
        done = {**BACKGROUND, "status": "completed", "usage": usage}
        document = BACKGROUND if sent else done
        call.reply(json.dumps(document).encode(), [(b"Content-Type", b"application/json")])

    world = start(**options)
    world.upstream.begin(follow)
    begun = ask(
        world.port, post("alice-key", {"model": "m", "input": "x", "background": True}, path="/v1/responses")
    )
    assert begun.status == 200
    world.daemon.signal(signal.SIGTERM)
    assert world.daemon.wait_until_gone()
    again = start(**options)
    again.upstream.begin(follow)
    for _ in range(6):
        assert page(again.port, "/v1/responses/resp_1", "Authorization: Bearer alice-key").status == 200

    def row():
        total = usage_of(again)["total"]
        return [total[name] for name in ("requests", "output_tokens", "cost_usd")]

    assert eventually(lambda: row()[0] == 7)
    assert row() == [7, 3, 3.0]


def test_a_stream_is_cut_when_it_has_cost_what_was_left(start, tmp_path):
    """The SDK's kind of error as an event, then a reset; what was used is charged, and the upstream is stopped.

    It was logged and counted as an error of the upstream.
    """
    world = start(**settings(tmp_path, budget(10), BUDGET_CUT="true", OBSERVERS="exchange-log:dir=logs"))
    gone = []

    def endless(call):
        call.read_body()
        call.start_stream()
        with contextlib.suppress(OSError):
            for _ in range(1000):
                call.chunk(events(delta("wordword"), done=False)[0])
                if call.seconds_until_gone(0.02) is not None:
                    break
        gone.append(True)

    world.upstream.script = endless
    with Client(world.port) as client:
        client.send(asking(max_tokens=1, stream=True))
        said = client.read_until(b"insufficient_quota")
        assert said.count(b"wordword") in (5, 6)
    assert eventually(lambda: gone)
    [line] = exchange_lines(tmp_path / "logs")
    assert (line["outcome"], line["error_code"]) == ("limit", "insufficient_quota")
    assert total(metrics(world.port), "openai_proxy_upstream_errors_total") == 0
    world.upstream.script = using(1)
    refused = ask(world.port, asking(max_tokens=1))
    assert (refused.status, json.loads(refused.body)["error"]["code"]) == (429, "insufficient_quota")

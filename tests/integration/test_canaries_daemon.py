"""Hundreds of secrets go through a daemon that records all it can: none of them turns up anywhere."""

import contextlib
import gzip
import itertools
import json
import signal
import subprocess
from pathlib import Path

import pytest
from integration.canaries import (
    CANARY,
    HIDDEN,
    WORD,
    Canaries,
    bodies_with_credentials,
    everything_under,
    found,
    strangers_requests,
    upstreams_head,
)
from world.client import Client, ask
from world.daemon import TWISTD, Daemon
from world.otlp_collector import Collector
from world.requests import request
from world.waiting import eventually

PAGE = b"GET %b HTTP/1.1\r\nHost: proxy\r\n"
CLOSED_REDIS = "redis://user:{}@127.0.0.1:1/0"


def upstream_script(canaries):
    """Answer in turn with JSON, a stream, echoes of the key, nonsense and broken bodies."""

    def head(call, status, *lines):
        call.send(upstreams_head(canaries, status) + b"".join(line + b"\r\n" for line in lines) + b"\r\n")

    def counted(call, status, kind, body, *lines):
        head(call, status, b"Content-Type: " + kind, b"Content-Length: %d" % len(body), *lines)
        call.send(body)

    def answer(call):
        document = {
            "model": "gpt-4o",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": canaries.word()}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
        }
        counted(call, "200", b"application/json", json.dumps(document).encode())

    def stream(call):
        lines = b"Content-Type: text/event-stream", b"Transfer-Encoding: chunked", b"Trailer: x-t"
        head(call, "200", *lines)
        for _ in range(3):
            call.chunk(
                b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % canaries.word().encode()
            )
        call.chunk(b": %b\n\ndata: [DONE]\n\n" % canaries.opaque().encode())
        call.send(b"0;e=%b\r\nx-t: %b\r\n\r\n" % (canaries.opaque().encode(), canaries.opaque().encode()))

    def echo(kind, status, coding=None):
        def script(call):
            got = [value for name, value in call.headers if name.lower() in (b"authorization", b"api-key")]
            text = b"Incorrect API key provided: " + b" ".join(got).replace(b'"', b"")
            body = (
                b'{"error": {"message": "%b", "code": "invalid_api_key"}}' % text if b"json" in kind else text
            )
            if coding:
                body = gzip.compress(body)
            counted(call, status, kind, body, *([b"Content-Encoding: gzip"] if coding else []))

        return script

    def telling(number, coding=None):
        def script(call):
            document = bodies_with_credentials(canaries)[number][2]
            body, kind = json.dumps(document).encode(), b"application/json"
            if "type" in document:
                body, kind = b"data: " + body + b"\n\n", b"text/event-stream"
            if coding:
                body = gzip.compress(body)
            counted(call, "200", kind, body, *([b"Content-Encoding: gzip"] if coding else []))

        return script

    def nonsense(call):
        call.send(b"%b HTTP is not spoken here\r\n\r\n" % canaries.opaque().encode())
        call.finish()

    def bad_head(call):
        call.send(
            b"HTTP/1.1 200 OK\r\n%b\r\nContent-Length: %b\r\n\r\n" % ((canaries.opaque().encode(),) * 2)
        )
        call.finish()

    def broken(call):
        head(call, "200", b"Content-Type: application/json", b"Content-Length: 9999")
        call.send(b'{"a": "%b' % canaries.word().encode())
        call.reset()

    def bad_chunk(call):
        head(call, "200", b"Content-Type: text/event-stream", b"Transfer-Encoding: chunked")
        call.chunk(b'data: {"choices":[]}\n\n')
        call.send(canaries.opaque().encode() + b"\r\n")
        call.finish()

    kinds = itertools.cycle(
        [
            answer,
            stream,
            echo(b"application/json", "401"),
            echo(b"text/plain", "401"),
            echo(b"application/json", "403", coding="gzip"),
            echo(b"text/html; charset=utf-8", "502"),
            nonsense,
            bad_head,
            broken,
            bad_chunk,
            *[telling(number) for number in range(8)],
            *[telling(number, b"gzip") for number in range(3)],
        ]
    )

    def script(call):
        call.read_body()
        if call.header(b"upgrade"):
            head(call, "101", b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Accept: x")
            call.send(b"\x81\x10" + canaries.opaque().encode()[:16])
            call.finish()
        else:
            next(kinds)(call)

    return script


def configuration(mode, canaries, redis):
    """Return (TOML, environment, the credential header that is accepted)."""
    key = canaries.opaque()
    env = {
        "OTEL_EXPORTER_OTLP_HEADERS": f"x-collector-key={canaries.opaque()}",
        "AZURE_STORAGE_ACCOUNT_KEY": canaries.opaque(),
        "AZURE_STORAGE_CONNECTION_STRING": f"AccountKey={canaries.opaque()};",
        "CACHE__REDIS_URL": redis,
        "ADMIN__TOKEN": canaries.opaque(),
    }
    toml = ""
    if mode == "inject":
        env["OPENAI_API_KEY"] = canaries.opaque()
    elif mode != "pass-through":
        env["OPENAI_API_KEY"] = canaries.opaque()
        env["CLIENT_API_KEYS"] = f"{canaries.opaque()},{canaries.plain_key()}"
        env["API_KEY_MAPPING"] = json.dumps({canaries.opaque(): canaries.opaque()})
        toml = f'[[keys]]\nname = "alice"\nkey = "{key}"\nupstream_key = "{canaries.opaque()}"\n'
        toml += f'[[keys]]\nname = "bob"\nkey = "{canaries.opaque()}"\nmodels = ["none"]\n'
    return toml, env, f"Authorization: Bearer {key}\r\n".encode()


def command_lines(pid):
    """Return what ps shows of a process and of its children."""
    children = [
        int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit() and parent_of(each) == pid
    ]
    assert pid is not None
    return b"\n".join((Path("/proc") / str(each) / "cmdline").read_bytes() for each in (pid, *children))


def parent_of(process):
    with contextlib.suppress(OSError):
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture
def collector():
    made = Collector()
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["pass-through", "inject", "tenants", "tenants with workers"])
def test_no_canary_turns_up(start, collector, tmp_path, mode):
    """Every observer is on and everything goes wrong: what is recorded holds no secret, and bodies only if they are requested."""
    canaries = Canaries()
    toml, env, credential = configuration(mode, canaries, CLOSED_REDIS.format(canaries.opaque()))
    (tmp_path / "c.toml").write_text(toml)
    recorded = {name: tmp_path / name for name in ("plain", "bodies")}
    specs = [
        "console",
        "log",
        "json:-",
        f"json:file={tmp_path}/metadata.jsonl",
        f"exchange-log:dir={recorded['plain']}:bodies=false",
        f"exchange-log:dir={recorded['bodies']}",
        f"otel:endpoint={collector.url}",
    ]
    options = ["--config", str(tmp_path / "c.toml"), "--log-level", "debug"]
    for spec in specs:
        options += ["-o", spec]
    if mode.endswith("workers"):
        options += ["--workers", "2"]
    world = start(
        options=options, env={**env, "OTEL_METRIC_EXPORT_INTERVAL": "200", "LIMITS__HEADER_TIMEOUT_S": "2"}
    )
    world.upstream.begin(upstream_script(canaries))
    for _, data in [*strangers_requests(canaries, credential)] * 3:
        with contextlib.suppress(OSError), Client(world.port) as client:
            client.send(data)
            client.response(3.0)
    token = f"Authorization: Bearer {env['ADMIN__TOKEN']}\r\n".encode()
    paths = (b"/", b"/health", b"/metrics", b"/admin/usage", b"/admin/usage?format=csv")
    pages = b"".join(ask(world.port, PAGE % path + token + b"\r\n").body for path in paths)
    pages += command_lines(world.daemon.pid)
    world.upstream.close()
    for _, data in itertools.islice(strangers_requests(canaries, credential), 12):
        assert ask(world.port, data).status is not None
    spans = len((tmp_path / "metadata.jsonl").read_bytes().splitlines())
    assert eventually(lambda: len(collector.spans) >= spans - 20 and collector.metrics)
    # a configuration that is broken, while running
    (tmp_path / "c.toml").write_text(toml + f'[[keys]]\nname = "eve"\nkey = ["{canaries.opaque()}"]\n')
    world.daemon.signal(signal.SIGHUP)
    assert eventually(lambda: "reload refused" in world.daemon.log)
    pages += (world.daemon.directory / "stdout").read_bytes()
    world.daemon.signal(signal.SIGTERM)
    assert world.daemon.wait_until_gone()
    everywhere = {
        "the log": world.daemon.log.encode() + pages,
        "the JSON lines": (tmp_path / "metadata.jsonl").read_bytes(),
        "the log without bodies": everything_under(recorded["plain"]),
        "the log with bodies": everything_under(recorded["bodies"]),
        "the collector": collector.received,
    }
    assert canaries.count >= 200
    for source, text in everywhere.items():
        assert found(CANARY, text) == [], source
        assert [each for each in HIDDEN if each in text] == [], source
        assert source == "the log with bodies" or found(WORD, text) == [], source
    assert found(WORD, everywhere["the log with bodies"]) != []
    assert b'"alice"' in everywhere["the JSON lines"] or "tenants" not in mode


def test_a_key_that_comes_with_a_reload_is_not_logged(start, tmp_path):
    """The exchange log blots the new upstream key out too, though nothing about observers changed."""
    canaries = Canaries()
    secret = tmp_path / "key"
    secret.write_text(canaries.opaque())
    logs = tmp_path / "logs"
    world = start(options=("-o", f"exchange-log:dir={logs}"), env={"OPENAI_API_KEY_FILE": str(secret)})
    world.upstream.begin(lambda call: call.reply_json({"error": str(call.header(b"authorization"))}))
    assert CANARY.search(ask(world.port, request()).body)
    secret.write_text(canaries.opaque())
    world.daemon.signal(signal.SIGHUP)
    assert eventually(lambda: "configuration reloaded" in world.daemon.log)
    assert CANARY.search(ask(world.port, request()).body)
    text = everything_under(logs)
    assert text.count(b"[redacted]") == 4  # both in the request and in the answer
    assert found(CANARY, text) == []


@pytest.mark.parametrize("mode", ["inject", "tenants"])
def test_check_config_shows_no_canary(tmp_path, mode):
    """Everything that can hold a secret is there, and masked; also on the process's command line."""
    canaries = Canaries()
    toml, env, _ = configuration(mode, canaries, CLOSED_REDIS.format(canaries.opaque()))
    env |= {
        "RATE_LIMIT__URL": CLOSED_REDIS.format(canaries.opaque()),
        "OBSERVERS": f"otel:endpoint=http://h:1 exchange-log:dir={tmp_path}",
    }
    toml += f'[[upstreams]]\nname = "u"\nbase_url = "http://127.0.0.1:1"\napi_key = "{canaries.opaque()}"\n'
    (tmp_path / "c.toml").write_text(toml)
    done = subprocess.run(
        [TWISTD, "-n", "openai-proxy", "--check-config", "--config", "c.toml"],
        cwd=tmp_path,
        env=Daemon._environment("http://127.0.0.1:1/v1", env),
        capture_output=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert found(CANARY, done.stdout + done.stderr) == []


BAD = [
    {"OBSERVERS": "otel:endpoint=http://u:{}@h"},
    {"OBSERVERS": "otel:endpoint=http://h/?key={}"},
    {"OBSERVERS": "otel", "OTEL_EXPORTER_OTLP_HEADERS": "{}"},
    {"OBSERVERS": "exchange-log:url=az\\://c:account_key={}:nonsense=1"},
]
"""What the observers refuse; tests/settings/test_refusals.py has the settings."""


@pytest.mark.parametrize("env", BAD, ids=lambda env: " ".join(env))
def test_a_refused_start_shows_no_canary(tmp_path, env):
    """One line, exit 1, no traceback, and the secret is not in it."""
    canaries = Canaries()
    env = {name: text.replace("{}", canaries.opaque()) for name, text in env.items()}
    done = subprocess.run(
        [TWISTD, "-n", "openai-proxy", "--check-config"],
        cwd=tmp_path,
        env=Daemon._environment("http://127.0.0.1:1/v1", env),
        capture_output=True,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert found(CANARY, said) == []
    assert b"Traceback" not in said

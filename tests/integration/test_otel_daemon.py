"""A real daemon and a real OTLP collector: what arrives, and what an outage does."""

import signal
import time

import pytest
from world.client import ask
from world.otlp_collector import Collector, attributes_of
from world.requests import CHAT, chat, request
from world.waiting import PATIENCE_S, eventually

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "SECRET-ANSWER"}}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
}


def answer(call):
    call.read_body()
    call.reply_json(ANSWER)


def stream(call):
    call.read_body()
    call.start_stream()
    call.chunk(b'data: {"choices":[{"index":0,"delta":{"content":"SECRET-ANSWER"}}]}\n\n')
    call.chunk(b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7}}\n\n')
    call.chunk(b"data: [DONE]\n\n")
    call.end_stream()


@pytest.fixture
def collector():
    made = Collector()
    yield made
    made.close()


@pytest.fixture
def traced(start, collector):
    """Start a daemon that exports to the collector, quickly."""

    def started(more="", options=None, **env):
        env = {"OTEL_METRIC_EXPORT_INTERVAL": "300", "OTEL_EXPORTER_OTLP_TIMEOUT": "5", **env}
        spec = ("-o", "console", "-o", f"otel:endpoint={collector.url}{more}")
        world = start(options=spec if options is None else options, env=env)
        world.upstream.begin(answer)
        return world

    return started


STREAMED = CHAT[:-1] + b', "stream": true}'


def test_a_call_becomes_a_span_and_points(traced, collector):
    """The conventions' names arrive: model, usage, server, status, duration; and nothing that was said."""
    world = traced(":service_name=my-proxy", OTEL_EXPORTER_OTLP_HEADERS="x-collector-key=k%20ey")
    sent = time.time_ns()
    assert ask(world.port, chat(headers=b"X-Other: sk-otherother123456\r\n")).status == 200
    assert eventually(lambda: collector.spans and collector.points("gen_ai.client.token.usage"))
    (span,) = collector.spans
    attributes = attributes_of(span)
    assert span.name == "chat gpt-4o-mini"
    assert span.kind == span.SPAN_KIND_CLIENT
    assert span.parent_span_id == b""
    assert sent - 10**9 < span.start_time_unix_nano < span.end_time_unix_nano < time.time_ns() + 10**9
    exchange_id = attributes.pop("openai_proxy.exchange.id")
    attributes.pop("openai_proxy.cost_usd", None)  # if prices are installed
    key = attributes.pop("openai_proxy.key", None)
    assert exchange_id.startswith("proxy-")
    assert key is None or key.startswith("key-")
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.usage.input_tokens": 9,
        "gen_ai.usage.output_tokens": 3,
        "openai.api.type": "chat_completions",
        "openai_proxy.outcome": "complete",
        "server.address": "127.0.0.1",
        "server.port": world.upstream.port,
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "url.template": "/chat/completions",
    }
    assert collector.resources[0]["service.name"] == "my-proxy"
    assert collector.headers[0]["x-collector-key"] == "k ey"
    duration = collector.metrics["gen_ai.client.operation.duration"]
    assert duration.unit == "s"
    (point,) = duration.histogram.data_points
    assert point.count == 1
    assert list(point.explicit_bounds)[:3] == [0.01, 0.02, 0.04]
    usage = {
        attributes_of(each)["gen_ai.token.type"]: each
        for each in collector.points("gen_ai.client.token.usage")
    }
    assert {kind: each.sum for kind, each in usage.items()} == {"input": 9, "output": 3}
    assert list(usage["input"].explicit_bounds)[:4] == [1, 4, 16, 64]
    for secret in (b"SECRET-ANSWER", b"otherother", b"sk-", b"Hello"):
        assert secret not in collector.received


def test_a_stream_tells_its_first_chunk_and_usage(traced, collector):
    """Time to the first chunk and the usage that the client did not ask for are there."""
    world = traced()
    world.upstream.begin(stream)
    assert ask(world.port, chat(STREAMED)).status == 200
    names = ("gen_ai.server.time_to_first_token", "gen_ai.server.time_per_output_token")
    assert eventually(lambda: collector.spans and all(collector.points(name) for name in names))
    attributes = attributes_of(collector.spans[0])
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.usage.output_tokens"] == 7
    assert 0 < attributes["gen_ai.response.time_to_first_chunk"] < PATIENCE_S


def test_the_callers_trace_is_continued(traced, collector):
    """The span is the child of the client's; one that the client does not sample is not sent."""
    world = traced()
    for flags in (b"00", b"01"):
        parent = b"00-%b-%b-%b" % (TRACE.encode(), PARENT.encode(), flags)
        headers = b"traceparent: %b\r\ntracestate: vendor=value\r\n" % parent
        assert ask(world.port, chat(headers=headers)).status == 200
        assert world.upstream.calls[-1].header(b"traceparent") == parent
    assert eventually(lambda: collector.spans)
    (span,) = collector.spans
    assert span.trace_id.hex() == TRACE
    assert span.parent_span_id.hex() == PARENT
    assert span.trace_state == "vendor=value"
    assert eventually(lambda: collector.points("gen_ai.client.operation.duration"))


def test_failures_are_errors(traced, collector):
    """Refusals of ours and errors of the upstream say what they were."""
    world = traced()
    world.upstream.begin(lambda call: call.reply_json({"error": {}}, b"503 Service Unavailable"))
    assert ask(world.port, chat()).status == 503
    assert ask(world.port, request(b"GET", b"/v1/files/file-abc?x=1")).status == 503
    assert ask(world.port, request(b"GET", b"/nowhere/at/all")).status == 404
    assert eventually(lambda: len(collector.spans) == 3)
    errors = {span.name: (attributes_of(span)["error.type"], span.status.code) for span in collector.spans}
    assert errors == {
        "chat gpt-4o-mini": ("503", 2),
        "GET /files/{id}": ("503", 2),
        "GET /other": ("unknown_url", 2),
    }


def test_a_collector_that_refuses_costs_traces_only(traced, collector):
    """One line when it begins, one when it is over, and every request is answered."""
    world = traced()
    collector.status = 401
    assert ask(world.port, chat()).status == 200
    assert eventually(lambda: "cannot be sent" in world.daemon.log), world.daemon.log
    for _ in range(3):
        assert ask(world.port, chat()).status == 200
    collector.status = 200
    assert eventually(lambda: "are sent to" in world.daemon.log), world.daemon.log
    assert ask(world.port, chat()).status == 200
    assert eventually(lambda: collector.spans)
    assert world.daemon.log.count("cannot be sent") == 1
    assert world.daemon.log.count("are sent to") == 1
    assert "status 401" in world.daemon.log


def test_a_collector_that_comes_back_is_found(traced, collector):
    """An outage of the collector's machine is logged, and survived."""
    world = traced()
    collector.close()
    assert ask(world.port, chat()).status == 200
    assert eventually(lambda: "cannot be sent" in world.daemon.log), world.daemon.log
    assert "ConnectionError" in world.daemon.log
    back = Collector(collector.port)
    try:
        assert eventually(lambda: "are sent to" in world.daemon.log), world.daemon.log
        assert ask(world.port, chat()).status == 200
        assert eventually(lambda: back.spans)
    finally:
        back.close()


def test_a_reload_changes_where_traces_go(traced, collector, tmp_path):
    """SIGHUP with another service name: the old exporter sends what it has, a new one goes on."""
    config = tmp_path / "c.toml"
    config.write_text(f'observers = ["otel:endpoint={collector.url}:service_name=before"]\n')
    world = traced(options=("--config", str(config)))
    assert ask(world.port, chat()).status == 200
    config.write_text(f'observers = ["otel:endpoint={collector.url}:service_name=after"]\n')
    world.daemon.signal(signal.SIGHUP)
    assert eventually(lambda: "configuration reloaded" in world.daemon.log), world.daemon.log
    assert ask(world.port, chat()).status == 200

    def names():
        return [each["service.name"] for each in collector.resources]

    assert eventually(lambda: sorted(names()) == ["after", "before"]), names()


def test_a_collector_that_hangs_does_not_hold_up_the_end(traced, collector):
    """Requests go on, and SIGTERM ends the daemon within seconds."""
    world = traced(OTEL_EXPORTER_OTLP_TIMEOUT="60")
    collector.answering.clear()
    for _ in range(20):
        assert ask(world.port, chat()).status == 200
    world.daemon.signal(signal.SIGTERM)
    assert world.daemon.wait_until_gone()
    assert "20 traces were not sent" in world.daemon.log


def test_what_waits_is_sent_at_the_end(traced, collector):
    """SIGTERM right after a call: its span and its metrics still arrive."""
    world = traced(OTEL_METRIC_EXPORT_INTERVAL="60000")
    assert ask(world.port, chat()).status == 200
    assert eventually(lambda: collector.spans)
    assert ask(world.port, chat()).status == 200
    world.daemon.signal(signal.SIGTERM)
    assert world.daemon.wait_until_gone()
    assert len(collector.spans) == 2
    assert [point.count for point in collector.points("gen_ai.client.operation.duration")] == [2]


def test_it_runs_in_a_process_that_became_a_daemon(start, collector):
    """The thread is started after the fork."""
    world = start(
        options=("-o", f"otel:endpoint={collector.url}"),
        twistd=("--pidfile=proxy.pid", "--logfile=proxy.log"),
        log="proxy.log",
    )
    world.upstream.begin(answer)
    assert ask(world.port, chat()).status == 200
    assert eventually(lambda: collector.spans)

"""What the otel observer exports about an exchange."""

import fakes
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.exchange.outcome import Outcome
from openai_proxy.exchange.usage import Usage
from openai_proxy.observe.metrics.labels import MOST_ENDPOINTS
from openai_proxy.observe.otel.conventions import HISTOGRAMS, TOKEN_USAGE, provider_of
from openai_proxy.observe.otel.observation import Observing
from openai_proxy.observe.otel.trace_parent import trace_headers
from openai_proxy.wire.targets import USUAL_ENDPOINTS

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def observing(url="http://10.0.0.1:8000/v1"):
    return Observing(lambda: {"default": url})


def ended(outcome=Outcome.COMPLETE, **fields):
    given = {"endpoint": "chat/completions", "model": "gpt-4o", "status": 200, "upstream": "default"}
    exchange = fakes.exchange(
        started=10.0, timestamp=1700000000.0, path="/v1/chat/completions", **{**given, **fields}
    )
    exchange.end(outcome, 12.5)
    return exchange


def test_span_covers_the_exchange():
    """From the request's head to the end, on the clock on the wall."""
    span = observing().observe(ended())
    assert (span.name, span.error_type) == ("chat gpt-4o", None)
    assert (span.start_ns, span.end_ns) == (1700000000 * 10**9, 1700000002500000000)
    assert span.attributes["server.address"] == "10.0.0.1"
    assert span.attributes["server.port"] == 8000


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"endpoint": "embeddings", "model": "m"}, "embeddings m"),
        ({"endpoint": "completions", "model": None}, "text_completion"),
        ({"endpoint": "responses"}, "chat gpt-4o"),
        ({"endpoint": "models", "model": None}, "POST /models"),
        ({"endpoint": "", "model": None}, "POST /other"),
        ({"model": "a b\nc\ud800"}, r"chat a\x20b\nc\ud800"),
    ],
)
def test_names(fields, name):
    """`{operation} {model}` for what calls a model, else the method and the endpoint; always printable."""
    assert observing().observe(ended(**fields)).name == name


def test_an_unknown_method_is_called_http():
    """As the conventions for HTTP spans have it: strangers choose no names."""
    exchange = fakes.exchange(
        started=10.0, timestamp=1700000000.0, method="BREW", path="/v1/models", endpoint="models", status=405
    )
    exchange.end(Outcome.REJECTED, 10.5)
    observation = observing().observe(exchange)
    assert observation.name == "HTTP /models"
    assert observation.attributes["http.request.method"] == "_OTHER"


@pytest.mark.parametrize(
    ("outcome", "fields", "error_type"),
    [
        (Outcome.COMPLETE, {}, None),
        (Outcome.COMPLETE, {"status": 404}, "404"),
        (Outcome.REJECTED, {"status": 401, "error_code": "invalid_api_key"}, "invalid_api_key"),
        (Outcome.CLIENT_GONE, {}, "client_gone"),
        (Outcome.UPSTREAM_TRUNCATED, {}, "upstream_truncated"),
    ],
)
def test_error_type(outcome, fields, error_type):
    """What went wrong is one word of a bounded set, in the span and in the metric."""
    span = observing().observe(ended(outcome, **fields))
    assert span.error_type == error_type
    assert span.attributes.get("error.type") == error_type
    assert span.points[0][2].get("error.type") == error_type


def test_only_spent_tokens_are_counted():
    """Neither an estimate nor a hit of the cache is usage."""
    for fields in ({"usage": Usage(1, 2, estimated=True)}, {"usage": Usage(1, 2), "cached": True}):
        span = observing().observe(ended(**fields))
        assert TOKEN_USAGE not in [name for name, _, _ in span.points]
        assert span.attributes["gen_ai.usage.output_tokens"] == 2
    span = observing().observe(ended(usage=Usage(1, 2, 1, 1)))
    assert [value for name, value, _ in span.points if name == TOKEN_USAGE] == [1, 2]
    assert span.attributes["gen_ai.usage.cache_read.input_tokens"] == 1
    assert span.attributes["gen_ai.usage.reasoning.output_tokens"] == 1


def test_stream_times():
    """The first chunk counts from the request, the rest is shared by the tokens after the first."""
    fields = {"streaming": True, "first_byte_at": 10.5, "usage": Usage(1, 5)}
    span = observing().observe(ended(**fields))
    points = {name: value for name, value, _ in span.points}
    assert span.attributes["gen_ai.response.time_to_first_chunk"] == 0.5
    assert points["gen_ai.server.time_to_first_token"] == 0.5
    assert points["gen_ai.server.time_per_output_token"] == 0.5


def test_models_in_metrics_are_bounded():
    """After 200 models the metric's attribute is `other`; the span still has the name."""
    watch = observing()
    spans = [watch.observe(ended(model=f"m{number}", status=200)) for number in range(201)]
    assert spans[-1].attributes["gen_ai.request.model"] == "m200"
    assert spans[-1].points[0][2]["gen_ai.request.model"] == "other"


def test_templates_of_paths_are_bounded():
    """Strangers spell thousands of paths out of the API's words: what no upstream answered is `/other`."""
    watch = observing()
    names = [f"files/{first}/{second}" for first in USUAL_ENDPOINTS for second in ("runs", "steps", "voices")]
    spans = [watch.observe(ended(endpoint=name, status=404, model=None)) for name in names]
    assert {each.attributes["url.template"] for each in spans} == {"/other"}
    assert {each.name for each in spans} == {"POST /other"}
    spans = [watch.observe(ended(endpoint=name, status=200, model=None)) for name in names]
    templates = {each.attributes["url.template"] for each in spans}
    assert len(names) > MOST_ENDPOINTS
    assert len(templates) == MOST_ENDPOINTS + 1
    usual = watch.observe(ended(endpoint="vector_stores/{id}/files", status=404, model=None))
    assert usual.attributes["url.template"] == "/vector_stores/{id}/files"


def test_never_sent_has_no_server():
    """A refused request names the provider that it was meant for, without an address."""
    span = observing("https://x.openai.azure.com/openai/v1").observe(ended(Outcome.REJECTED, upstream=None))
    assert span.attributes["gen_ai.provider.name"] == "azure.ai.openai"
    assert "server.address" not in span.attributes


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("api.openai.com", "openai"),
        ("localhost", "openai"),
        ("api.groq.com", "groq"),
        ("API.X.AI", "x_ai"),
        ("notx.ai", "openai"),
        ("generativelanguage.googleapis.com", "gcp.gemini"),
        ("europe-west1-aiplatform.googleapis.com", "gcp.vertex_ai"),
    ],
)
def test_provider(host, provider):
    """The host shows whose API it is; any other speaks OpenAI's."""
    assert provider_of(host) == provider


def test_boundaries_ascend():
    """Every histogram has the conventions' kind of boundaries."""
    assert all(list(bounds) == sorted(set(bounds)) for _, _, bounds in HISTOGRAMS.values())
    assert HISTOGRAMS[TOKEN_USAGE][2][-1] == 67108864


def test_one_parent_is_continued():
    """Name in any case, states joined; several parents are none."""
    pairs = [(b"TraceParent", PARENT), (b"tracestate", b"a=1"), (b"Tracestate", b"b=2"), (b"x", b"y")]
    assert trace_headers(pairs) == {"traceparent": PARENT.decode(), "tracestate": "a=1,b=2"}
    assert trace_headers([*pairs, (b"traceparent", PARENT)]) is None
    assert trace_headers(pairs[1:]) is None
    assert trace_headers(None) is None


@pytest.mark.parametrize("state", [b"v=sk-abcdefghijklmnop", b"token=abc", b"a=" + b"x" * 600, b"a=\xff"])
def test_what_looks_like_a_key_is_no_state(state):
    """A trace state goes to the collector, a key never."""
    assert trace_headers([(b"traceparent", PARENT), (b"tracestate", state)]) == {
        "traceparent": PARENT.decode()
    }


@given(
    model=st.text(st.characters(), max_size=300),
    key=st.text(st.characters(), max_size=50),
    headers=st.lists(
        st.tuples(st.sampled_from([b"traceparent", b"tracestate", b"x"]), st.binary(max_size=80))
    ),
)
def test_whatever_strangers_send_can_be_encoded(model, key, headers):
    """Each text is UTF-8, so that one exchange never spoils a batch."""
    span = observing().observe(ended(model=model, key=key, request_headers=headers))
    for text in [span.name, *span.attributes.values(), *(span.parent or {}).values()]:
        str(text).encode("utf-8")

"""docs/explain/security.md has the bounds of the code."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from openai_proxy.net.memory import default_limit_bytes, memory_bytes
from openai_proxy.observe.exchange_log.options import _LOCAL
from openai_proxy.observe.metrics.labels import BoundedLabels
from openai_proxy.policies.cache import cache
from openai_proxy.policies.cache import repeats as cache_repeats
from openai_proxy.policies.limits.embedded import EmbeddedStore
from openai_proxy.policies.routing.rules import RetryBudget
from openai_proxy.settings.schema import leaves
from openai_proxy.upstream import agent

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "explain" / "security.md").read_text(encoding="utf-8")
_, _, _REST = PAGE.partition("<!-- bounds -->")
ROWS = re.findall(
    r"(?m)^\| (?!what \|)([^|\n]+) \| ([^|\n]+) \| ([^|\n]+) \|$", _REST.partition("<!-- /bounds -->")[0]
)
SETTINGS = {leaf.path: leaf.field.default for leaf in leaves()}
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "%": 0.01}
BOUNDING = ("limits.", "timeout_s.", "rate_limit.")
"""Each setting below these is a bound."""


def back_pressure_bytes():
    """Return what a client that does not read may make the daemon hold, as the test of a real daemon allows it."""
    text = (ROOT / "tests/integration/test_back_pressure.py").read_text(encoding="utf-8")
    factors = re.search(r"(?m)^EACH_BYTES = (\d+) \* (\d+)$", text)
    return int(factors[1]) * int(factors[2])


FIXED = {
    "length of the method": "wire.request_line:_LONGEST_METHOD",
    "header of the PROXY protocol, version 1": "wire.proxy_protocol:V1_BYTES",
    "header of the PROXY protocol, version 2": "wire.proxy_protocol:V2_BYTES",
    "addresses of `X-Forwarded-For` that are looked at": "exchange.client_address:MAX_HOPS",
    "lines in `Via` with this proxy's name; then 508": "downstream.proxy:LOOP_VIAS",
    "pipelined requests that are read while another one is answered": "downstream.channel:READ_AHEAD_BYTES",
    "chunk extensions and trailers of a body": "downstream.request_reader:CHUNK_OVERHEAD_BYTES",
    "a body up to this size that arrives in one read does not count for that": "exchange.buffered_bytes:SMALL_BYTES",
    "nesting of a JSON body": "wire.request_json:DEEPEST",
    "members of a JSON body at its top": "wire.request_json:MOST_MEMBERS",
    "lists and objects in a JSON body": "wire.request_json:MOST_CONTAINERS",
    "values in a JSON body": "wire.request_json:MOST_VALUES",
    "lists and objects in a JSON body, if a rule must look at every member": "wire.request_json:MOST_WALKED_CONTAINERS",
    "values in a JSON body, if a rule must look at every member": "wire.request_json:MOST_WALKED_COMMAS",
    "beginning of a form in which its model is looked for, if no rule depends on it": "wire.form_model:FIRST_BYTES",
    "time over which the speed of an upload is measured": "downstream.pace:BODY_WINDOW_S",
    "time at the beginning of an upload in which its speed is not checked": "downstream.pace:BODY_GRACE_S",
    "time for a body that is held in memory": "downstream.pace:BUFFERED_TOTAL_S",
    "bytes of an upload that wait for the upstream": "downstream.body:HIGH_WATER_BYTES",
    "upload that is kept while it is sent, to be sent again on a fresh connection": "downstream.body:REPLAY_BYTES",
    "rest of a refused upload that is read and dropped": "downstream.pace:LINGER_BYTES",
    "time for reading it": "downstream.pace:LINGER_TOTAL_S",
    "time without a byte while that is read": "downstream.pace:LINGER_IDLE_S",
    "time for a connection above that bound to send its request and receive its 503": "downstream.site:REFUSAL_S",
    "descriptors that are kept for other things than connections": "net.descriptors:RESERVE",
    "bytes of an answer that are held for a client that does not read, also after decompression": back_pressure_bytes(),
    "silence of a WebSocket after which the kernel checks whether the peer is still there": "downstream.tunnel:KEEP_ALIVE_S",
    "callers whose limits are remembered": EmbeddedStore(lambda: 0.0)._max_keys,
    "heads of one answer, interim answers included": "upstream.response_reader:HEAD_BYTES",
    "header lines of one answer": "upstream.response_reader:HEADER_COUNT",
    "interim answers (1xx)": "upstream.response_reader:INTERIM_RESPONSES",
    "reason phrase that arrives in pieces": "upstream.response_reader:REASON_BYTES",
    "chunk extensions and trailers of an answer": "upstream.response_reader:CHUNK_OVERHEAD_BYTES",
    "idle connections; never more than a quarter of the descriptors": "upstream.agent:MOST_IDLE",
    "share of the idle connections that one credential may keep": 1
    / import_module("openai_proxy.upstream.idle_pool").SHARE,
    "time that a connection stays idle": "upstream.agent:IDLE_S",
    "retries in relation to the requests of the last 10 s (10 are always allowed)": RetryBudget().ratio,
    "longest wait that an upstream can ask for before a retry": "policies.routing.rules:LONGEST_WAIT_S",
    "longest time that a key is not used because its upstream asks for a wait": "policies.routing.cooled_keys:LONGEST_COOLING_S",
    "time for which the head of a stream waits for its first event, with several upstreams": "policies.routing.attempt:FIRST_EVENT_S",
    "codings of a body, one inside the other": "wire.codings:_MOST_CODINGS",
    "window of zstd": "wire.decoders:_ZSTD_WINDOW_BYTES",
    "step in which a compressed answer is decompressed": "policies.bodies.decoded_body:STEP_BYTES",
    "decoded bytes in which usage is looked for in a compressed answer": "policies.usage.meter:_DECODE_LIMIT_BYTES",
    "event in which the hidden usage is looked for": "policies.usage.filters:EVENT_LIMIT_BYTES",
    "event or document in which model and service tier are looked for": "policies.usage.answer_labels:HELD_BYTES",
    "beginning of a stream in which an error is looked for": "wire.first_events:LIMIT_BYTES",
    "beginning of an answer in which a spent quota is looked for": "policies.routing.error_answer:PEEK_BYTES",
    "document from which thoughts are removed, if `limits.buffered_bytes` has room for it": "policies.think.filters:DOCUMENT_LIMIT_BYTES",
    "event from which thoughts are removed, under the same condition": "policies.think.filters:EVENT_LIMIT_BYTES",
    "characters that a stream holds after a start tag in the middle of a text": "policies.think.splitter:HOLD_LIMIT_CHARS",
    "texts of one stream from which thoughts are removed": "policies.think.texts:_MOST_TEXTS",
    "characters of thoughts that are repeated whole at the end of a Responses stream": "policies.think.responses:_THOUGHT_CHARS",
    "answer in which ids of stored objects are looked for (`objects.owners`)": "policies.authorize.own_objects:ANSWER_BYTES",
    "list of stored objects in which ids are looked for": "policies.authorize.own_objects:LIST_BYTES",
    "list of models that is changed for the client; a longer one passes, but not to a key with an allow-list": "policies.routing.list_models:MOST_BYTES",
    "list of models that is read from each further upstream": "policies.routing.collected_lists:LIST_BYTES",
    "time that the list of models waits for each further upstream": "policies.routing.collected_lists:LIST_PATIENCE_S",
    "beginning of a background response that is kept": "cost.settle_later:BEGINNING_BYTES",
    "later answer about a background response that is read": "cost.settle_later:LATER_BYTES",
    "how far a reader of a shared answer may fall behind, once it is too large to keep": "policies.cache.recording:LAG_BYTES",
    "longest value that a memo remembers": "exchange.bounded_memo:LONGEST_KEPT",
    "requests whose cache key is remembered, in each of two tables": "policies.cache.cache:_MEMO_BYTES",
    "models whose health is remembered, all upstreams together": "policies.routing.health:MOST_MODELS",
    "background responses that are remembered until their usage is read": "cost.pending_calls:MOST_CALLS",
    "settled background responses that are remembered": "cost.settle_later:_MOST_SETTLED",
    "models with a label of their own in `/metrics`": BoundedLabels()._limit,
    "endpoints with a label of their own": "observe.metrics.labels:MOST_ENDPOINTS",
    "client keys with a label of their own (`metrics.keys`)": "observe.metrics.prometheus:MOST_KEYS",
    "series of requests; the rest are counted by class of status": "observe.metrics.prometheus:MOST_SERIES",
    "length of a label": "observe.metrics.labels:LONGEST_LABEL",
    "rows of usage totals without a state file": "cost.day_rows:MOST_ROWS",
    "share of the time that goes into making `/metrics`": "observe.metrics.scrapes:SHARE",
    "exchanges that wait for the OpenTelemetry collector": "observe.otel.exporting:QUEUE_LIMIT",
    "alerts that wait for their webhook": "cost.webhook:MOST_WAITING",
    "field of a log line that a client chooses": "observe.lines.record:MAX_FIELD",
    "log lines about connections that are refused or wrong: one in": "net.once_in_a_while:WHILE_S",
    "work on one read of an answer, or on one JSON body; after more, others have their turn for three times as long": (
        "net.turns:SHORT_S"
    ),
    "strings in a request body that the exchange log shows whole": "observe.exchange_log.secret_members:MOST_STRINGS",
    "lists and objects in a request body that the exchange log shows whole": "observe.exchange_log.secret_members:MOST_CONTAINERS",
    "strings in the shown beginning of a larger request body": (
        "observe.exchange_log.torn_members:MOST_TORN_STRINGS"
    ),
    "files that an exchange log holds open": "observe.exchange_log.files:MAX_OPEN",
}
"""What no setting changes: the constant, as `module:NAME`, or its value."""


def documented(bound):
    """Return the number on the page, in bytes, seconds or pieces; None for `none`."""
    if bound == "none":
        return None
    number, _, unit = bound.partition(" ")
    top, _, bottom = number.replace(",", "").partition("/")
    return float(top) / float(bottom or 1) * UNITS.get(unit, 1)


def in_code(what, setting):
    """Return the number that the code has."""
    if setting != "fixed":
        return SETTINGS[setting.strip("`")]
    value = FIXED[what]
    if not isinstance(value, str):
        return value
    module, _, name = value.partition(":")
    return getattr(import_module(f"openai_proxy.{module}"), name)


@pytest.mark.parametrize(
    ("what", "bound", "setting"),
    [row for row in ROWS if not row[2].startswith("`exchange-log:") and row[2] != "`limits.buffered_bytes`"],
    ids=lambda text: text[:40],
)
def test_each_bound_is_the_codes(what, bound, setting):
    """Nobody plans with a number that was changed since."""
    expected, actual = in_code(what, setting), documented(bound)
    assert actual == (expected if expected is None else pytest.approx(float(expected)))


def test_the_bounds_that_are_no_constants():
    """What the rows say beside their numbers, and the options of the exchange log."""
    bounds = {setting.strip("`"): bound for _, bound, setting in ROWS}
    assert bounds["limits.buffered_bytes"] == "a quarter of the memory"
    assert default_limit_bytes() == memory_bytes() // 4
    descriptors = agent.resource.getrlimit(agent.resource.RLIMIT_NOFILE)[0]
    assert descriptors == agent.resource.RLIM_INFINITY or agent.most_idle() <= max(
        descriptors // 4, agent.LEAST_IDLE
    )
    assert (RetryBudget().window_s, RetryBudget().least) == (10, 10)
    assert cache._MEMO_BYTES == cache_repeats._MEMO_BYTES
    options = {name: bound for name, bound in bounds.items() if name.startswith("exchange-log:")}
    assert options == {f"exchange-log:{name}=": "none" for name in _LOCAL}


def test_every_setting_that_bounds_something_is_there():
    """A new limit has a line, and each line is read by this test: fixed bounds are those of FIXED, once each."""
    named = [setting.strip("`") for _, _, setting in ROWS]
    wanted = {path for path in SETTINGS if path.startswith(BOUNDING)} - {"rate_limit.url"}
    assert wanted - set(named) == set()
    assert sorted(what for what, _, setting in ROWS if setting == "fixed") == sorted(FIXED)


def test_what_it_names_is_there():
    """The tests and pages that it sends its reader to exist."""
    for path in re.findall(r"`(tests/[\w/.]+)`", PAGE):
        assert (ROOT / path).exists(), path
    for link in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (ROOT / "docs" / "explain" / link).resolve().exists(), link

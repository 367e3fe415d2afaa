"""No function that takes bytes from outside is without its worst inputs.

The modules of the package are walked. A module reads what strangers wrote
(it says that it is pure, or is one of READERS), or ELSEWHERE says why it
does not. Each public function and class of a reader has cases, or EXEMPT
says by name why it needs none.
"""

import enum
import importlib
import inspect
import pkgutil
import re

from adversarial.cases import CASES

import openai_proxy
from openai_proxy.exchange.bounded_memo import memo_of

PURE_ROOMS = ("exchange", "wire", "policies", "cost")
"""There a module that says of itself that it is pure reads what strangers wrote, or is exempt by name."""
READERS = re.compile(
    r"observe\.(lines\.)?(redaction|record|encode)|observe\.otel\.trace_parent"
    r"|observe\.exchange_log\.(bodies|body_strings|capture|credentials|files|line|member_names|raw|secret_members|shown_headers|torn_members|assembly\..+)"
    r"|command\.conversation|downstream\.request_reader|upstream\.response_reader|upstream\.mock\.(answers|form|schema|words)"
    r"|upstream\.replay\.(match|recorded|report)"
)
"""Further modules that read what strangers wrote."""
ELSEWHERE = {
    r"[a-z_]+": "packages: their modules are named below; logs, tap and the command read nothing of strangers",
    r"policies\..+": "decides by what the pure modules have read; passes bodies on",
    r"cost\..+": "counts tokens that policies.usage has read; the state file and Redis are the operator's",
    r"(composition|daemon|settings|command)(\..+)?": "reads the operator's configuration",
    r"observe\.exchange_log(\..+)?": "files, spool and stores: takes lines that exchange_log.line has made",
    r"observe\.otel\..+": "takes the record of an exchange; of strangers' headers otel.trace_parent reads two",
    r"observe\.[a-z_.]+": "takes the record of an exchange, through observe.lines.record",
    r"exchange\.(messages|bodies)": "the vocabulary: no behaviour beyond the values, and bytes that pass as they are",
    r"net\..+": "sockets, timers and the operator's Redis; bytes go through wire.proxy_protocol and wire.headers",
    r"upstream\.replay\..+": "files and timers; lines and requests go through match and recorded",
    r"upstream\.mock\..+": "takes what upstream.mock.answers hands on, whose cases go through all of them",
    r"upstream\..+": "sockets, timers and pools; bytes of answers go through upstream.response_reader",
    r"(downstream|pages)\..+": "sockets, timers and pages; bytes of requests go through request_reader, wire.headers and wire.targets",
    r"workers\..+": "speaks with our own processes",
}

EXEMPT = {
    "upstream.mock.answers:(Question|takes_body)": "what answer is asked with; a look-up",
    "upstream.mock.words:(stream_of|text_from)": "a digest that digest_of has made",
    "wire.backoff:.*": "numbers, and two headers; a value of more than a few digits is refused",
    "wire.body_headers:is_event_stream": "compares two values that media_type_and_coding has read",
    "exchange.attribute_names:.*": "names of attributes that stand in the code",
    "exchange.buffered_bytes:.*": "counts",
    "policies.cache.recording_memory:.*": "counts",
    "cost.budget_alerts:.*": "counts money of the configured keys",
    "policies.routing.cooled_keys:.*": "looks configured keys up",
    "daemon.reload_outcome:.*": "the operator's directory",
    "policies.authorize.named_models:(runs_model|makes_session)": "compares an endpoint's name, made by wire.targets",
    "policies.authorize.object_ids:(collection_of|makes_objects)": "compares an endpoint's name, made by wire.targets",
    "observe.lines.record:who": "tags and end users that policies.tags.rules has cut",
    "policies.tags.rules:.*": "cuts to some hundred characters first; one digest; a bounded table",
    "policies.refusal_words:(seconds|expiry_words)": "numbers and configured names",
    "policies.limits.words:.*": "numbers and configured names",
    "cost.budget_words:.*": "numbers and configured names",
    "policies.routing.repeatable:is_kept": "asks for a type",
    "policies.routing.share_window:.*": "counts",
    "exchange.bounded_memo:(BoundedMemo|short_memo|memo_of)": "bounded; its functions have cases of their own",
    "cost.budget:.*": "counts money of the configured keys",
    "policies.cache.entry:(dump_entry|load_entry|CacheEntry)": "joins and parts what make_entry has taken, one copy each",
    "policies.cache.key:(cache_key|models_family)": "one digest over the canonical body",
    "policies.cache.rules:(CacheRule|CacheRules|TimesToLive|default_rules)": "configuration",
    "policies.routing.circuit_breaker:.*": "counts",
    "exchange.client_address:(parse_network|Peer)": "the operator's list of networks, through parse_address",
    "wire.decoders:(Decoder|Plain|Chain)": "what maybe_decoder returns: its cases read through them",
    "wire.documents:require": "looks four names up",
    "wire.by_beginning:Filter": "an interface",
    "policies.override.endpoint_params:(change_for|edits_for|Changes)": "a few configured names, looked up",
    "wire.endpoint_rules:.*": "compares an endpoint's name, made by wire.targets, with the configured ones",
    "exchange.record:.*": "a record",
    "wire.render:(RenderedLines|connection_line)": "three constants; a list that carries two values",
    "wire.json_edits:rendered_members": "the operator's parameters",
    "policies.authenticate.keyring:(Keyring|ClientKey)": "looks digests up that key_digest has made",
    "wire.keys:key_name": "a digest that key_digest has made",
    "policies.limits.rules:.*": "counts",
    "policies.override.params:.*": "the operator's parameters",
    "cost.prices:.*": "counts",
    "policies.limits.headers:.*": "counts",
    "net.redis_url:.*": "configuration",
    "wire.mock_url:.*": "configuration",
    "wire.fault_kinds:.*": "configuration",
    "policies.routing.rules:(failure_reason|may_go_elsewhere|further_attempts|RetryBudget)": "looks one header up, as status_may_be_retried does",
    "policies.routing.table:(RoutingTable|Upstream|best_of|by_weight|first_choice)": "compares a model's name with the configured ones",
    "policies.think.splitter:joined": "joins pieces",
    "policies.think.log_probabilities:TokenLists": "names members and joins tokens",
    "policies.think.added_events:(choice_chunk|text_delta|encode_event|encode_item|reasoning_item|reasoning_id|lists_json)": "renders one event or item of a few members",
    "policies.think.event_numbers:EventNumbers": "driven by ResponseStream; at most MOST_ITEMS items are inserted",
    "policies.think.rewrite:with_thoughts": "renders one event or item of a few members",
    "policies.think.texts:(key_of|envelope)": "keeps short members of one event",
    "policies.usage.estimate:token_estimate": "the operator's parameters",
    "policies.limits.token_bucket:.*": "counts",
    "policies.usage.estimate:(reserved_model_tokens|estimated_prompt_tokens)": "adds what prompt_tokens and requested_output_tokens have read",
    "policies.routing.health:.*": "counts",
    "wire.upstream_lines:(is_protected|UpstreamQuery)": "a name looked up; the operator's parameters",
    "wire.web_origins:(WebOrigins|is_preflight)": "compares what page_marks has read with the configured origins",
    "observe.lines.record:(iso_time|seconds|usage_record|code|upstream_id)": "numbers, and one header looked up",
    "observe.exchange_log.capture:Capture": "two BodyCaptures",
    "observe.exchange_log.files:LogDirectory": "takes lines that exchange_log.line has made",
    "upstream.response_reader:too_large": "an error",
    "policies.batches.input:(BatchInput|ModelUse)": "counts of what BatchLines has read",
    "policies.batches.input:(dump_input|load_input)": "our own bytes, of what BatchLines has read",
    "policies.cache.entry_table:EntryTable": "a dict by key; O(1) an entry",
    "policies.batches.state:(BatchState|per_request)": "counts",
    "wire.websocket_frames:close_frame": "words of our own",
}
"""By regular expressions over `module:name`."""


def modules():
    prefix = "openai_proxy."
    return [each.name[len(prefix) :] for each in pkgutil.walk_packages(openai_proxy.__path__, prefix)]


def public(module):
    """Return the names of the functions, and of the classes with behaviour, that a module defines."""
    loaded = importlib.import_module(f"openai_proxy.{module}")
    for name, value in vars(loaded).items():
        memo = memo_of(value)
        defined = memo.find if memo is not None else value
        if name.startswith("_") or getattr(defined, "__module__", None) != loaded.__name__:
            continue
        if inspect.isclass(value):
            if issubclass(value, BaseException | enum.Enum):
                continue
            if any(callable(each) and not key.startswith("_") for key, each in vars(value).items()):
                yield f"{module}:{name}"
        elif callable(value):
            yield f"{module}:{name}"


def reads_strangers(module):
    """Whether the functions of a module take bytes from outside."""
    if READERS.fullmatch(module):
        return True
    pure = re.search(r"\b[Pp]ure\b", importlib.import_module(f"openai_proxy.{module}").__doc__ or "")
    return bool(pure) and module.split(".")[0] in PURE_ROOMS


def matches(patterns, name):
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def test_every_module_is_looked_at_or_reads_nothing():
    """A new module must be looked at, or it must be said why it needs no cases."""
    unknown = [name for name in modules() if not reads_strangers(name) and not matches(ELSEWHERE, name)]
    assert unknown == [], "put these into READERS, with cases, or say in ELSEWHERE why not"


def test_every_function_has_cases():
    """A new function of a reader cannot be forgotten."""
    names = [name for module in modules() if reads_strangers(module) for name in public(module)]
    missing = [name for name in names if name not in CASES and not matches(EXEMPT, name)]
    assert missing == [], (
        "give these their worst inputs in adversarial/cases/, or exempt them by name with a reason"
    )


def test_nothing_is_named_that_is_gone():
    """Cases and exemptions are those of functions that there are."""
    names = [name for module in modules() for name in public(module)]
    assert [name for name in CASES if name not in names] == []
    assert [pattern for pattern in EXEMPT if not any(re.fullmatch(pattern, name) for name in names)] == []
    assert [name for name in CASES if matches(EXEMPT, name)] == []

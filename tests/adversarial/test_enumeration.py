"""No function that takes bytes from outside is without its worst inputs.

The modules of the package are walked. A module is in ROOMS, or ELSEWHERE
says why nothing in it reads what strangers wrote. Each public function and
class of a room has cases, or EXEMPT says by name why it needs none.
"""

import enum
import importlib
import inspect
import pkgutil
import re

from adversarial.cases import CASES

import openai_proxy

ROOMS = re.compile(
    r"core\..+|observe\.(redaction|secret_members|record|encode|capture)|observe\.otel\.trace_parent"
    r"|observe\.exchange_log\.(bodies|line|known_headers|files)|web\.request_reader|upstream\.response_reader"
)
ELSEWHERE = {
    r"(cache|cost|composition|observe|limits|stages|settings|upstream|web|workers)": "packages: their modules are named below",
    r"cache\..+": "passes bodies on and keeps them; what it reads of them is read by core.cache_*, core.unfit_answers, core.sse",
    r"cost\..+": "counts tokens that core.usage_* has read; the state file and Redis are the operator's",
    r"composition\..+|daemon.*|settings\..+|tap|keys_command": "reads the operator's configuration",
    r"observe\.exchange_log\..+": "files, spool and stores: takes lines that exchange_log.line has made",
    r"observe\.otel\..+": "takes the record of an exchange; of strangers' headers otel.trace_parent reads two",
    r"observe\.[a-z_]+": "takes the record of an exchange, through observe.record",
    r"limits\..+|redis_client|redis_login": "speaks with the operator's Redis",
    r"stages\..+": "decides by what core has read; no stage searches bytes by itself",
    r"upstream\..+": "sockets, timers and pools; bytes of answers go through upstream.response_reader and core.plain_heads",
    r"web\..+": "sockets, timers and pages; bytes of requests go through web.request_reader, core.headers, core.paths, core.plain_heads",
    r"routing\..+": "decides by what core has read",
    r"workers\..+": "speaks with our own processes",
    r"(certificate_dates|changed_json|prompt_estimate|client_tls|decoded_body|descriptors|direct_deferred|draining|eager_transports|endpoints|host_names|listening|logs|messages"
    r"|once_in_a_while|peeked_body|proxy_protocol|relay|reload_command|reloads|routing|service|serving|signals|socket_group|sockets|status|steady_clock|stores|turns|unsupported"
    r"|wire_headers|core)": "passes bytes on unread, or through core.codings, core.proxy_protocol and core.headers",
}

EXEMPT = {
    "core.backoff:.*": "numbers, and two headers; a value of more than a few digits is refused",
    "core.body_headers:is_event_stream": "compares two values that media_type_and_coding has read",
    "core.batch_input:(BatchInput|ModelUse)": "counts of what BatchLines has read",
    "core.batch_input:(dump_input|load_input)": "our own bytes, of what BatchLines has read",
    "core.batch_state:(BatchState|per_request)": "counts",
    "core.buffered_bytes:.*": "counts",
    "core.budget_alerts:.*": "counts money of the configured keys",
    "core.cooled_keys:.*": "looks configured keys up",
    "core.reload_outcome:.*": "the operator's directory",
    "core.named_models:(runs_model|makes_session)": "compares an endpoint's name, made by core.paths",
    "core.object_ids:(collection_of|makes_objects)": "compares an endpoint's name, made by core.paths",
    "core.refusal_words:(seconds|expiry_words)": "numbers and configured names",
    "core.limit_words:.*": "numbers and configured names",
    "core.budget_words:.*": "numbers and configured names",
    "core.repeatable:is_kept": "asks for a type",
    "core.share_window:.*": "counts",
    "core.short_memo:short_memo": "a memo, bounded; its functions have cases of their own",
    "core.budget:.*": "counts money of the configured keys",
    "core.cache_entry:(dump_entry|load_entry|CacheEntry)": "joins and parts what make_entry has taken, one copy each",
    "core.cache_key:(cache_key|models_family)": "one digest over the canonical body",
    "core.cache_rules:(CacheRule|CacheRules|TimesToLive|default_rules)": "configuration",
    "core.circuit_breaker:.*": "counts",
    "core.client_address:(parse_network|Peer)": "the operator's list of networks, through parse_address",
    "core.codings:Decoder": "the interface of what maybe_decoder returns",
    "core.documents:require": "looks four names up",
    "core.by_beginning:Filter": "an interface",
    "core.endpoint_params:(change_for|edits_for|Changes)": "a few configured names, looked up",
    "core.endpoint_rules:.*": "compares an endpoint's name, made by core.paths, with the configured ones",
    "core.exchange:.*": "a record",
    "core.json_members:rendered_members": "the operator's parameters",
    "core.keyring:(Keyring|ClientKey)": "looks digests up that key_digest has made",
    "core.keys:key_name": "a digest that key_digest has made",
    "core.limits:.*": "counts",
    "core.llm_params:.*": "the operator's parameters",
    "core.prices:.*": "counts",
    "core.rate_limit_headers:.*": "counts",
    "core.redis_url:.*": "configuration",
    "core.retry_rules:(failure_reason|may_go_elsewhere|further_attempts|RetryBudget)": "looks one header up, as status_may_be_retried does",
    "core.routing:(RoutingTable|Upstream|choose|first_choice)": "compares a model's name with the configured ones",
    "core.think:joined": "joins pieces",
    "core.think_tokens:TokenLists": "names members and joins tokens",
    "core.think_rewrite:(choice_chunk|text_delta|encode_event|encode_item|reasoning_item|reasoning_id|lists_json|with_thoughts)": "renders one event or item of a few members",
    "core.think_texts:(key_of|envelope)": "keeps short members of one event",
    "core.token_bucket:.*": "counts",
    "core.token_estimate:(reserved_model_tokens|estimated_prompt_tokens)": "adds what prompt_tokens and requested_output_tokens have read",
    "core.upstream_health:.*": "counts",
    "core.upstream_lines:(is_protected|UpstreamQuery)": "a name looked up; the operator's parameters",
    "core.web_origins:(WebOrigins|is_preflight)": "compares what page_marks has read with the configured origins",
    "observe.record:(iso_time|seconds|usage_record|code|upstream_id)": "numbers, and one header looked up",
    "observe.capture:Capture": "two BodyCaptures",
    "observe.exchange_log.files:LogDirectory": "takes lines that exchange_log.line has made",
    "upstream.response_reader:too_large": "an error",
}
"""By regular expressions over `module:name`."""


def modules():
    prefix = "openai_proxy."
    return [each.name[len(prefix) :] for each in pkgutil.walk_packages(openai_proxy.__path__, prefix)]


def public(module):
    """Return the names of the functions, and of the classes with behaviour, that a module defines."""
    loaded = importlib.import_module(f"openai_proxy.{module}")
    for name, value in vars(loaded).items():
        if name.startswith("_") or getattr(value, "__module__", None) != loaded.__name__:
            continue
        if inspect.isclass(value):
            if issubclass(value, BaseException | enum.Enum):
                continue
            if any(callable(each) and not key.startswith("_") for key, each in vars(value).items()):
                yield f"{module}:{name}"
        elif callable(value):
            yield f"{module}:{name}"


def matches(patterns, name):
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def test_every_module_is_looked_at_or_reads_nothing():
    """A new module must be put into a room, or it must be said why it needs no cases."""
    unknown = [name for name in modules() if not ROOMS.fullmatch(name) and not matches(ELSEWHERE, name)]
    assert unknown == [], "put these into ROOMS, with cases, or say in ELSEWHERE why not"


def test_every_function_has_cases():
    """A new function of a room cannot be forgotten."""
    known = [name for module in modules() if ROOMS.fullmatch(module) for name in public(module)]
    missing = [name for name in known if name not in CASES and not matches(EXEMPT, name)]
    assert missing == [], (
        "give these their worst inputs in adversarial/cases.py, or exempt them by name with a reason"
    )


def test_nothing_is_named_that_is_gone():
    """Cases and exemptions are those of functions that there are."""
    known = [name for module in modules() for name in public(module)]
    assert [name for name in CASES if name not in known] == []
    assert [pattern for pattern in EXEMPT if not any(re.fullmatch(pattern, name) for name in known)] == []
    assert [name for name in CASES if matches(EXEMPT, name)] == []

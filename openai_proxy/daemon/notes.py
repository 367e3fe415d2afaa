"""Lines about a configuration, for the log and for --check-config: what is on, and which keys are restricted.

At the start, each is logged in one line. A reload logs only new lines about
restrictions, and features that have changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..observe.spec import parse_spec
from ..policies.authenticate.upstream_keys import keyless_upstreams
from ..policies.authorize.build import defaulted_keys, restricted_keys, shared_objects
from ..settings import Settings, client_keys, mode
from ..settings.derived import all_serverless, state_path
from ..settings.errors import mask_spec, mask_whole_url

_MIB = 1024 * 1024
_MOST_NAMED = 5


def full_notes(settings: Settings) -> Iterator[str]:
    """Yield every line in its long form, for --check-config."""
    yield from keyless_upstreams(settings)
    yield from restricted_keys(settings)
    yield from shared_objects(settings)
    yield from unchanged_websockets(settings)


def start_notes(settings: Settings) -> Iterator[str]:
    """Yield the lines for a start, which only name the keys that a default restricts."""
    yield from keyless_upstreams(settings)
    names = defaulted_keys(settings)
    if names:
        named = ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
        count = f"{len(names)} key{'s' if len(names) > 1 else ''}"
        yield f"{count} without `endpoints` may call @metered only ({named}); --check-config says what that is"
    yield from shared_objects(settings)
    yield from unchanged_websockets(settings)


def unchanged_websockets(settings: Settings) -> Iterator[str]:
    """Yield a line if parameters or thoughts are changed, but not in WebSockets."""
    changing = ["llm_params"] if settings.llm_params is not None else []
    if settings.think.mode != "keep":
        changing.append("think.mode")
    if changing and settings.websocket.responses:
        yield (
            f"{' and '.join(changing)} change nothing in WebSockets of /responses; with websocket.responses = off"
            " clients send the same by HTTP"
        )


def new_notes(old: Settings, new: Settings) -> list[str]:
    """Return the lines of `new` that `old` does not have."""
    old_lines = {*on_notes(old), *start_notes(old)}
    return [line for line in (*on_notes(new), *start_notes(new)) if line not in old_lines]


def on_notes(settings: Settings) -> Iterator[str]:
    """Yield a line for the cache, the limits, each exchange log and the state file, as far as they are on."""
    cache = settings.cache
    if cache.url is not None:
        url = mask_whole_url(cache.url.get_secret_value())
        yield f"cache: {url}" + (f" up to {cache.max_bytes / _MIB:,.0f} MiB" if url == "memory:" else "")
    limits = settings.rate_limit
    each = [
        f"{number:,} {what}"
        for number, what in (
            (limits.requests_per_minute, "requests a minute"),
            (limits.tokens_per_minute, "tokens a minute"),
            (limits.concurrent_requests, "requests at once"),
        )
        if number is not None
    ]
    if each:
        yield f"limits of each key: {', '.join(each)}"
    for log in _exchange_logs(settings):
        yield f"exchange log: {log}"
    has_budgets = any(key.has_budget for key in client_keys(settings))
    state = state_path(settings, has_budgets)
    if state is not None:
        yield f"state file: {state}"


def _exchange_logs(settings: Settings) -> Iterator[str]:
    for each in settings.observers:
        spec = parse_spec(each)
        if spec.name == "exchange-log":
            directory = spec.kwargs.get("dir")
            yield str(settings.directory / directory) if directory else mask_spec(each)
    storage = settings.storage
    if storage.type == "local":
        yield str(settings.directory / str(storage.local_log_dir))
    elif storage.type == "azure":
        yield f"az://{storage.azure_container}"


_MOCK_BODY = '{"model":"mock-text","messages":[{"role":"user","content":"Hello"}]}'
_KEYS = {
    "pass-through": "OPENAI_API_KEY=(their own)",
    "inject": "OPENAI_API_KEY=anything",
    "tenants": "OPENAI_API_KEY=(a client key)",
}


def next_step(settings: Settings, addresses: Sequence[str]) -> str | None:
    """Return a command to try when the daemon listens on `addresses`; None if no HTTP client reaches them."""
    url = client_base_url(addresses)
    if url is None:
        return None
    who = mode(settings)
    if all_serverless(settings) and who != "tenants":
        return f"try: curl {url}/chat/completions -H 'content-type: application/json' -d '{_MOCK_BODY}'"
    return f"for your programs: OPENAI_BASE_URL={url} {_KEYS[who]}"


def client_base_url(addresses: Sequence[str]) -> str | None:
    """Return the API's base URL by the addresses that the proxy listens on; None if no HTTP client reaches them.

    >>> client_base_url(["unix:/run/p.sock", "http://0.0.0.0:8080"])
    'http://127.0.0.1:8080/v1'
    """
    for address in addresses:
        if address.startswith("http"):
            reachable = address.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
            return f"{reachable}/v1"
    return None

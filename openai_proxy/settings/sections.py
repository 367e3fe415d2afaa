"""The single tables of the settings: `[upstream]`, `[cache]`, `[limits]`.

Values only; `model` puts them together. Those about access and for operators are in
`access_sections` and `operator_sections`, arrays of tables in `tables`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from .fields import Allowed, Section, setting
from .header_lines import HeaderGlobs, StaticHeaders, StaticQuery
from .table_values import ThinkMode, ThinkWhere
from .tables import CacheRule
from .urls import BaseURL, CacheURL, RedisURL
from .values import (
    MIB,
    Count,
    FewConnections,
    Flag,
    HeaderName,
    Key,
    LowerCase,
    Off,
    OptionalCount,
    OptionalSeconds,
    Pseudonym,
    Retries,
    Seconds,
    SecondsOrZero,
    Text,
    TimeToLive,
    on_off,
    truth_word,
)

WhatIsRead = Annotated[Literal["auto", "always", "never"], LowerCase, Allowed("'auto', 'always' or 'never'")]
OnOff = Annotated[bool, BeforeValidator(on_off), Allowed("'on' or 'off'")]

Stick = Annotated[
    Literal["state", "cache", "off"],
    BeforeValidator(truth_word),
    Allowed("'state', 'cache' or 'off'"),
]
BalanceBy = Annotated[Literal["weight", "least_busy"], LowerCase, Allowed("'weight' or 'least_busy'")]
SessionHeader = Annotated[HeaderName, Off, Allowed("the name of a header, such as 'x-session-id', or 'none'")]
Entries = Annotated[Count, Field(le=10_000_000), Allowed("a whole number from 1 to 10000000")]


class Upstream(Section):
    """The upstream, if there are no `[[upstreams]]`."""

    base_url: BaseURL = setting(
        "https://api.openai.com/v1",
        "the API to forward to; a URL without a path gets /v1",
        env=("OPENAI_API_BASE", "TARGET_BASE_URL"),
        option="upstream",
    )
    api_key: Key | None = setting(
        None, "the key that is sent to the upstream", env=("OPENAI_API_KEY",), secret=True
    )
    auth_header: HeaderName = setting(
        "authorization", "header that carries the key: 'authorization' (Bearer) or a name like 'api-key'"
    )
    ca_file: Text | None = setting(
        None, "PEM file of further trusted CAs for an https upstream", default_text="system store"
    )
    client_cert: Text | None = setting(
        None, "PEM file of the client certificate, with its chain, that an https upstream asks for"
    )
    client_key: Text | None = setting(
        None,
        "PEM file of its key, without a passphrase",
        default_text="the file of `upstream.client_cert`",
    )
    headers: StaticHeaders = setting(
        (),
        "header lines added to requests, in place of the client's of the same name: a table, in which"
        " NAME_FILE names a file with the value; other origins among `[[upstreams]]` do not get them",
        toml_only=True,
        secret=True,
    )
    query: StaticQuery = setting(
        (),
        "query parameters added to requests, in place of the client's of the same name: a table as `headers`",
        toml_only=True,
        secret=True,
    )
    drop_headers: HeaderGlobs = setting(
        (),
        "request headers that are not sent to the upstream: names or globs such as 'cf-*', separated by"
        " commas; credentials and headers that frame the message cannot be dropped",
    )
    dns_ttl_s: SecondsOrZero = setting(
        30.0,
        "how long the addresses of an upstream's host name are used for new connections before it is looked up"
        " again (at once, if no connection can be made); 0 looks it up each time",
    )
    warm_connections: FewConnections = setting(
        0,
        "connections that each worker keeps open to each upstream beyond those in use, so that a request need not"
        " wait for one to be made",
    )
    via: Pseudonym = setting(
        "openai-proxy",
        "this proxy's name in the Via header; empty (in TOML only) leaves the header out,"
        " and then loops are not recognised",
    )


class RateLimit(Section):
    """Limits per client key."""

    requests_per_minute: OptionalCount = setting(None, "requests per client key", default_text="off")
    tokens_per_minute: OptionalCount = setting(None, "model tokens per client key", default_text="off")
    concurrent_requests: OptionalCount = setting(None, "requests at once per client key", default_text="off")
    max_wait_s: SecondsOrZero = setting(0.0, "longest wait for a free slot instead of a 429")
    url: RedisURL = setting(
        None,
        "Redis that shares the limits between machines",
        secret=True,
        url=True,
        default_text="the cache's Redis if there is one",
    )


class CacheTtl(Section):
    """Times to live, in seconds."""

    embeddings: TimeToLive = setting(86400.0, "time to live of embeddings")
    completions: TimeToLive = setting(3600.0, "time to live of completions and chat completions")
    models: TimeToLive = setting(300.0, "time to live of the list of models")


class Cache(Section):
    """The cache of answers."""

    url: CacheURL = setting(
        None,
        "'memory:' (embedded), 'redis://host:port/db' or 'rediss://...'",
        env=("CACHE__REDIS_URL",),
        secret=True,
        url=True,
        default_text="off",
    )
    max_bytes: Count = setting(64 * MIB, "bound of the embedded cache")
    ttl_s: CacheTtl = setting(CacheTtl(), "times to live")
    shared: Flag = setting(False, "share answers between client keys of the same upstream key")
    rules: tuple[CacheRule, ...] = setting((), "what else is cached", toml_only=True)


class Routing(Section):
    """How an upstream is chosen among several."""

    stick: Stick = setting(
        "state",
        "what keeps a request at an upstream: state (the upstream that has what it refers to), cache (its"
        " session's prompt"
        " cache is there too) or off",
    )
    balance: BalanceBy = setting(
        "weight",
        "how all other requests are distributed: weight, or least_busy (the less busy one of two drawn by weight)",
    )
    session_header: SessionHeader | None = setting(
        None, 'request header that names a session, such as `x-session-id`, for `routing.stick = "cache"`'
    )
    session_header_private: Flag = setting(False, "whether that header is not sent upstream")
    state_entries: Entries = setting(
        100_000, "names of state that each process remembers, the most recently used ones"
    )
    state_ttl_s: TimeToLive = setting(2_592_000.0, "how long they are remembered", default_text="30 days")


class Retry(Section):
    """Repeated attempts."""

    max_retries: Retries = setting(3, "further attempts after the first; 0 turns retries off")


class Think(Section):
    """Removal of think blocks."""

    mode: ThinkMode = setting(
        "keep",
        "what happens to think blocks: keep, strip or reasoning_content (STRIP_THINK_TAGS=true means strip)",
        env=("STRIP_THINK_TAGS",),
        canonical_first=True,
    )
    start_tag: Text = setting("<think>", "how a block starts", env=("THINK_TAG",))
    end_tag: Text = setting("</think>", "how a block ends", env=("THINK_END_TAG",))
    trim: Flag = setting(False, "remove the white space after a removed block too")
    where: ThinkWhere = setting(
        "anywhere", "which blocks count: `anywhere`, or only those at the `start` of a text"
    )
    implicit_start: Flag = setting(
        False,
        "texts begin inside a block, for models whose prompt template has the start tag (DeepSeek-R1, QwQ, Qwen3)",
    )


class Timeouts(Section):
    """Timeouts for upstreams, in seconds."""

    connect: Seconds = setting(10.0, "connecting, name look-up and TLS included")
    first_byte: Seconds = setting(
        600.0,
        "from the end of the request's body to the answer's first byte",
        env=("API_REQUEST_TIMEOUT",),
        canonical_first=True,
    )
    idle: Seconds = setting(600.0, "between two reads of a response body")
    total: OptionalSeconds = setting(None, "a whole response")


class Limits(Section):
    """Limits for clients."""

    json_body_bytes: Count = setting(
        32 * MIB, "largest JSON body, which is buffered, and decoded if it is compressed"
    )
    buffered_bytes: OptionalCount = setting(
        None,
        "bodies held in memory, all connections together; 503 above that",
        default_text="a quarter of the memory (of the cgroup's limit, if that is smaller)",
    )
    form_model_bytes: Count = setting(
        64 * 1024,
        "the beginning of a form in which its `model` must come if the key has `models`: it is held in memory,"
        " and the form is refused after that",
    )
    body_bytes: OptionalCount = setting(None, "largest body of any kind")
    target_bytes: Count = setting(16 * 1024, "longest request target")
    header_bytes: Count = setting(64 * 1024, "largest header section")
    header_count: Count = setting(200, "most header lines")
    connections: Count = setting(10_000, "most client connections at once")
    in_flight: OptionalCount = setting(None, "most requests at once")
    header_timeout_s: Seconds = setting(15.0, "time for the whole header section")
    body_min_bytes_per_s: Count = setting(50, "slowest upload, over the last 10 s, after the first 5 s")
    keep_alive_s: Seconds = setting(
        120.0,
        "how long an idle client connection stays open; pools of programs in front of the proxy keep theirs up"
        " to 90 s",
    )
    write_stall_s: Seconds = setting(60.0, "longest time without progress writing to a client")
    exchange_log_body_bytes: Count = setting(MIB, "largest body kept by the exchange log")


class WebSocket(Section):
    """WebSockets."""

    responses: OnOff = setting(
        True,
        "whether WebSockets of /responses are accepted: on, or off (then clients use HTTP if they can, for"
        " which parameters and the removal of thoughts apply)",
        default_text="on",
    )
    inspect: WhatIsRead = setting(
        "auto",
        "which WebSockets of /responses, /realtime and /live have their turns read, so that each is an exchange of"
        " its own: auto (if a list of models, a limit, a budget, prices, an exchange log or OpenTelemetry needs"
        " it), always (so that all end between two turns when the daemon stops, too), or never (then a key with"
        " models, a budget or a limit of model tokens gets 403)",
    )
    message_bytes: Count = setting(
        64 * MIB, "largest message of a WebSocket whose turns are read; a larger one closes it with 1009"
    )
    session_s: OptionalSeconds = setting(
        None,
        "how long a WebSocket whose turns are read may last; then it is closed with 1012 as soon as no turn is open",
        default_text="none",
    )
    idle_s: OptionalSeconds = setting(
        None, "how long a tunnel may pass no byte in either direction before it is cut", default_text="none"
    )

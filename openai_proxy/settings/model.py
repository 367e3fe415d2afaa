"""All settings: one frozen, typed tree by TOML path.

Values only: `sources` reads them, `checks` compares them. Each field has its
meaning, environment variables and allowed values next to it, here and in
`sections`; help, reference and errors are generated from them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from .access_sections import Access, Auth, Cors, Objects
from .alerts import Alerts
from .errors import SettingsError
from .fields import Allowed, setting
from .keys import KeyList, KeyMapping
from .operator_sections import Admin, Cost, KeyStore, Live, Log, Metrics, Otel, Storage
from .replay import Replay
from .sections import Cache, Limits, RateLimit, Retry, Routing, Think, Timeouts, Upstream, WebSocket
from .tables import GroupEntry, KeyEntry, ModelEntry, OnDisconnect, UpstreamEntry
from .tags import TagHeaders
from .values import (
    MIB,
    Count,
    Endpoint,
    Flag,
    LogLevel,
    LowerCase,
    OneOrMore,
    OptionalSeconds,
    Seconds,
    SecondsOrZero,
    Text,
    Words,
    Workers,
)

Level = Annotated[
    Literal["debug", "info", "warn", "error", "critical"],
    LogLevel,
    Allowed("'debug', 'info', 'warn', 'error' or 'critical'"),
]
Endpoints = Annotated[
    tuple[Endpoint, ...],
    Field(min_length=1),
    OneOrMore,
    Allowed("Twisted server endpoint strings, such as 'tcp:8080', or port numbers"),
]
Specs = Annotated[tuple[Text, ...], Words, Allowed("observer specs: 'name' or 'name:key=value:...'")]


class Settings(BaseSettings):
    """Everything that can be configured; see `load_settings`."""

    # `layers` is removed below and never reaches the validation.
    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    ports: Endpoints = setting(
        ("tcp:8080:interface=127.0.0.1",),
        "where to listen: a Twisted endpoint string; repeat for more (PORT=n means tcp:n)",
        env=("PORT",),
        canonical_first=True,
        option="port",
    )
    upstream: Upstream = setting(Upstream(), "the upstream")
    client_api_keys: KeyList = setting(
        (), "keys that clients must send, separated by commas", secret=True, default_text="none"
    )
    api_key_mapping: KeyMapping = setting(
        (), "JSON object: client key to upstream key", secret=True, default_text="none"
    )
    auth: Auth = setting(Auth(), "what callers must show")
    cors: Cors = setting(Cors(), "pages of the web")
    rate_limit: RateLimit = setting(RateLimit(), "limits per client key")
    cache: Cache = setting(Cache(), "the cache")
    cost: Cost = setting(Cost(), "what exchanges cost")
    alerts: Alerts = setting(Alerts(), "budgets near their end")
    replay: Replay = setting(Replay(), "recorded answers")
    retry: Retry = setting(Retry(), "retries")
    routing: Routing = setting(Routing(), "one of several upstreams")
    on_disconnect: OnDisconnect = setting(
        "cancel",
        "what happens to an upstream call whose client leaves: cancel, or finish (it goes on, and the client's retry"
        " joins it)",
    )
    rejoin_s: Seconds = setting(60.0, "how long such a call goes on, and its answer waits for a retry")
    rejoin_bytes: Count = setting(
        8 * MIB, "the largest answer that is recorded; a larger one cannot be joined"
    )
    keepalive_s: OptionalSeconds = setting(
        None,
        "the silence after which a stream of events gets a comment, so that balancers do not cut it",
        default_text="none",
    )
    keepalive_before_head: Flag = setting(
        False,
        "whether comments also begin before the upstream has answered: the response then begins with status"
        " 200, and a failure is an event",
    )
    budget_cut: Flag = setting(
        False, "whether a stream ends as soon as it has cost what the budget of its key had left"
    )
    llm_params: Text | None = setting(
        None, "request parameters per model: 'model=A,temperature=0.5;model=B,max_tokens=200'"
    )
    think: Think = setting(Think(), "think removal")
    timeout_s: Timeouts = setting(Timeouts(), "deadlines towards the upstream")
    limits: Limits = setting(Limits(), "bounds towards clients")
    objects: Objects = setting(Objects(), "whose stored objects are")
    websocket: WebSocket = setting(WebSocket(), "WebSocket tunnels")
    access: Access = setting(Access(), "trusted proxies, and who may read the pages")
    observers: Specs = setting(
        ("console",),
        "observers of the exchanges, besides the console: 'name:key=value', repeated; 'none' turns the console"
        " and those before it off",
        option="observer",
        repr=False,
    )
    log_level: Level = setting(
        "info",
        "debug, info, warn, error or critical (DEBUG=true means debug)",
        env=("DEBUG",),
        canonical_first=True,
        option="log-level",
    )
    live: Live = setting(Live(), "what runs now")
    log: Log = setting(Log(), "lines about exchanges")
    metrics: Metrics = setting(Metrics(), "the labels of the metrics")
    storage: Storage = setting(Storage(), "where exchanges are logged")
    otel: Otel = setting(Otel(), "OpenTelemetry")
    admin: Admin = setting(Admin(), "the operator's side")
    tags: TagHeaders = setting(
        (),
        "headers that name the team, project or the like of a request, such as team = 'x-team' (as a variable:"
        " team=x-team,project=x-project); at most 200 values of each are counted separately",
        default_text="none",
    )
    tag_headers: Annotated[Literal["remove", "pass"], LowerCase, Allowed("'remove' or 'pass'")] = setting(
        "remove", "whether the headers of `tags` go to the upstream: 'remove' or 'pass'"
    )
    end_user: Annotated[Literal["off", "plain", "hash"], LowerCase, Allowed("'off', 'plain' or 'hash'")] = (
        setting(
            "off",
            "whether logs and the usage report name the end user, which is `safety_identifier` or `user` of the body:"
            " 'off', 'plain' or 'hash' (as `user-` and 16 hex digits)",
        )
    )
    key_store: KeyStore = setting(KeyStore(), "client keys made at run time")
    workers: Workers = setting(1, "processes that share the listening sockets", option="workers")
    drain_timeout_s: SecondsOrZero = setting(
        30.0, "how long running requests may finish after SIGTERM", option="drain-timeout"
    )
    upstreams: tuple[UpstreamEntry, ...] = setting((), "several upstreams", toml_only=True)
    models: tuple[ModelEntry, ...] = setting((), "models and their upstreams", toml_only=True)
    keys: tuple[KeyEntry, ...] = setting((), "client keys with their own rules", toml_only=True)
    groups: tuple[GroupEntry, ...] = setting((), "what several keys share", toml_only=True)

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _directory: Path = PrivateAttr(default_factory=Path.cwd)
    _blank_file: Path | None = PrivateAttr(default=None)
    _unknown: tuple[str, ...] = PrivateAttr(default=())
    _exposed: tuple[str, ...] = PrivateAttr(default=())
    _stored_keys: tuple[Any, ...] = PrivateAttr(default=())
    """Client keys of the key store (`tenants.ClientKey`)."""
    _client_keys: tuple[tuple[Any, ...], tuple[Any, ...]] | None = PrivateAttr(default=None)
    """The cache of `tenants.client_keys`: its input, then its result."""
    _found: dict[str, tuple[tuple[Any, ...], Any]] = PrivateAttr(default_factory=dict)
    """The cache of `tenants.found_once`: its input, then its results."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Replace pydantic's sources by the `layers` given to the constructor; the first takes precedence."""
        return tuple(init_settings.init_kwargs["layers"])  # type: ignore[attr-defined]  # InitSettingsSource

    @property
    def directory(self) -> Path:
        """The working directory at the start; relative paths refer to it, also after a chdir."""
        return self._directory

    @property
    def blank_file(self) -> Path | None:
        """The TOML file, if it is empty: a start accepts that, a reload treats it as a truncated file."""
        return self._blank_file

    @property
    def unknown(self) -> tuple[str, ...]:
        """A line for each variable that looks like a setting but is not one."""
        return self._unknown

    @property
    def exposed(self) -> tuple[str, ...]:
        """A line for each file with secrets that every user of this machine can read."""
        return self._exposed

    def origin(self, path: str) -> str | None:
        """Return the source of the value at a TOML path (`RETRY__MAX_RETRIES`, `c.toml`), None for a default."""
        return self._origins.get(path)

    def error(self, path: str, reason: str) -> SettingsError:
        """Return an error about the setting at a TOML path."""
        origin = self.origin(path.partition("[")[0])
        return SettingsError(f"{path} (from {origin}): {reason}" if origin else f"{path}: {reason}")

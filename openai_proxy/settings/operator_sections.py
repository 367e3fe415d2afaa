"""The tables for the operator: `[admin]`, `[cost]`, `[live]` and others.

Values only; `model` puts them together.
"""

from __future__ import annotations

from typing import Annotated, Literal

from .fields import Allowed, Section, setting
from .tables import PriceEntry, Unpriced
from .urls import KeyStoreURL
from .values import (
    MIB,
    BytesOrZero,
    Count,
    Endpoint,
    Flag,
    Key,
    Line,
    LowerCase,
    NaturalCount,
    Off,
    Text,
)

StorageType = Annotated[
    Literal["local", "azure"] | None, Off, LowerCase, Allowed("'local', 'azure' or 'none'")
]


class Storage(Section):
    """Short form of an exchange-log observer."""

    type: StorageType = setting(
        None,
        "where whole exchanges are logged: 'local' or 'azure'",
        env=("STORAGE_TYPE",),
        default_text="off",
    )
    local_log_dir: Text | None = setting(None, "directory of the log, type local", env=("LOCAL_LOG_DIR",))
    azure_account_name: Text | None = setting(
        None, "storage account, type azure", env=("AZURE_STORAGE_ACCOUNT_NAME",)
    )
    azure_account_key: Key | None = setting(
        None, "its key", env=("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY"), secret=True
    )
    azure_container: Text | None = setting(
        None, "its container", env=("AZURE_STORAGE_CONTAINER", "AZURE_STORAGE_ACCOUNT_CONTAINER")
    )
    azure_connection_string: Line | None = setting(
        None, "instead of name and key", env=("AZURE_STORAGE_CONNECTION_STRING",), secret=True
    )
    spool_dir: Text = setting("exchange-log-spool", "directory where lines for a remote store wait")
    spool_bytes: Count = setting(
        1024 * MIB, "the most bytes that may wait there; above that, lines are lost and requests continue"
    )


class Otel(Section):
    """Settings of the `otel` observer besides its spec."""

    headers: Line | None = setting(
        None,
        "headers for the OTLP collector: 'name=value,name=value'",
        env=("OTEL_EXPORTER_OTLP_HEADERS",),
        secret=True,
    )


class Cost(Section):
    """Prices, and the storage of money and totals."""

    provider: Text | None = setting(
        None,
        "whose public price list applies (a name of genai-prices, such as 'azure'); 'none' for no list",
        default_text="by the upstream's host, else 'openai'",
    )
    state_file: Text | None = setting(
        None,
        "SQLite file of budgets, usage totals, owners of objects and what batches ask for; 'none' keeps them"
        " in memory",
        default_text="openai-proxy.sqlite3 with budgets, admin.token, objects.owners or keys with models that may run"
        " batches, else none",
    )
    unpriced: Unpriced = setting(
        None,
        "models whose price is not known: 'allow', or 'refuse' (for a key with a budget, once anything is spent)",
        default_text="'refuse' for keys with a budget, else 'allow'",
    )
    prices: tuple[PriceEntry, ...] = setting(
        (), "prices that take precedence over the list's", toml_only=True
    )


class Admin(Section):
    """The operator's pages."""

    port: Endpoint | None = setting(
        None,
        "endpoint string of a port for only /metrics, /admin and /dashboard",
        default_text="with the API",
    )
    token: Key | None = setting(
        None,
        "token of /admin and /dashboard, as Bearer or the password of Basic; loopback only without one",
        secret=True,
    )


class Live(Section):
    """The live view: what runs, and what has just ended."""

    history: NaturalCount = setting(
        200,
        "exchanges that have ended and are kept in memory, only their metadata; 0 turns the live view and its"
        " pages off",
    )
    capture_bytes: BytesOrZero = setting(
        0,
        "the most bytes of whole exchanges that each process keeps in memory for the live view, redacted as in"
        " the exchange log; 0 keeps none",
    )


class KeyStore(Section):
    """Client keys that are created while the proxy runs."""

    url: KeyStoreURL = setting(
        None,
        "where client keys made at run time are kept: 'sqlite:PATH', or a Redis that machines share; then only"
        " client keys are admitted, even if there is none yet",
        secret=True,
        url=True,
        default_text="none",
    )


class Log(Section):
    """The contents of the lines of the `console`, `json` and `log` observers."""

    client_address: Flag = setting(True, "whether the lines name the address of the client")


class Metrics(Section):
    """The labels of the metrics."""

    keys: Flag = setting(
        False,
        "whether requests, tokens and cost have the label `key`: the client key's name; needs a restart",
    )

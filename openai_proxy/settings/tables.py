"""The arrays of tables that only the TOML file can hold.

`[[upstreams]]`, `[[models]]`, `[[keys]]`, `[[cache.rules]]`: values, each
checked by itself; `checks` compares them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from .fields import Allowed, Section, setting
from .header_lines import HeaderGlobs, StaticHeaders, StaticQuery
from .table_values import (
    AccountName,
    Digest,
    Factors,
    Globs,
    Moment,
    Name,
    Note,
    Parameters,
    ThinkMode,
    ThinkWhere,
)
from .tags import TagValues
from .urls import BaseURL
from .values import (
    Dollars,
    EndpointNames,
    Flag,
    Key,
    LowerCase,
    NaturalCount,
    Networks,
    Off,
    OptionalCount,
    OptionalDollars,
    Pseudonym,
    Text,
    TimeToLive,
    Weight,
)


class UpstreamEntry(Section):
    """One of several upstreams."""

    name: Name = setting(..., "the name in logs, metrics and `[[models]]`", toml_only=True)
    base_url: BaseURL = setting(..., "where it is", toml_only=True)
    api_key: Key | None = setting(
        None,
        "the key for it. Without one, an upstream of the origin of `upstream.base_url` gets a client key's own or"
        " `upstream.api_key`, and an upstream of another origin gets none. `inherit` sends it `upstream.api_key`"
        " (in pass-through mode the client's credentials) whatever its origin",
        toml_only=True,
        secret=True,
    )
    client_cert: Text | None = setting(
        None,
        "PEM file of the client certificate for it; without one, `upstream.client_cert` if it has the"
        " origin of `upstream.base_url`",
        toml_only=True,
    )
    client_key: Text | None = setting(
        None,
        "PEM file of its key",
        default_text="the file of `client_cert`",
        toml_only=True,
    )
    weight: Weight = setting(1.0, "share of the requests among those of the same priority", toml_only=True)
    priority: NaturalCount = setting(
        0, "upstreams with the lowest number are used first, the others if those fail", toml_only=True
    )
    headers: StaticHeaders = setting(
        (),
        "header lines added to its requests, as `upstream.headers`; at the origin of `upstream.base_url` those too",
        toml_only=True,
        secret=True,
    )
    query: StaticQuery = setting(
        (),
        "query parameters added to its requests, as `upstream.query`; at the origin of `upstream.base_url` those too",
        toml_only=True,
        secret=True,
    )
    drop_headers: HeaderGlobs | None = setting(
        None, "as `upstream.drop_headers`, in place of it", toml_only=True
    )
    via: Pseudonym | None = setting(None, "as `upstream.via`, in place of it", toml_only=True)


OnDisconnect = Annotated[Literal["cancel", "finish"], LowerCase, Allowed("'cancel' or 'finish'")]
Unpriced = Annotated[Literal["allow", "refuse"] | None, Off, LowerCase, Allowed("'allow' or 'refuse'")]


def _think(value: Any) -> Any:
    return {"mode": value} if isinstance(value, str) else value


class ThinkEntry(Section):
    """Think removal for one model; missing members are taken from `think`."""

    mode: ThinkMode | None = setting(None, "as `think.mode`", toml_only=True)
    start_tag: Text | None = setting(None, "as `think.start_tag`", toml_only=True)
    end_tag: Text | None = setting(None, "as `think.end_tag`", toml_only=True)
    trim: Flag | None = setting(None, "as `think.trim`", toml_only=True)
    where: ThinkWhere | None = setting(None, "as `think.where`", toml_only=True)
    implicit_start: Flag | None = setting(None, "as `think.implicit_start`", toml_only=True)


class ModelEntry(Section):
    """The upstream of a model, and its parameters."""

    match: Text = setting(..., "the model's name, or a glob", toml_only=True)
    upstream: Name | None = setting(
        None, "the name of one of `[[upstreams]]`; any without it", toml_only=True
    )
    upstream_model: Text | None = setting(None, "the model's name there; the same without it", toml_only=True)
    params: Parameters = setting({}, "request parameters that replace the client's", toml_only=True)
    default_params: Parameters = setting(
        {}, "request parameters that apply if the client gave none", toml_only=True
    )
    endpoints: Globs | None = setting(
        None,
        "the endpoints that `params` and `default_params` go to, such as `chat/completions`, or globs",
        toml_only=True,
        default_text="those that have the parameter",
    )
    on_disconnect: OnDisconnect | None = setting(None, "as `on_disconnect`, for this model", toml_only=True)
    think: Annotated[ThinkEntry | None, BeforeValidator(_think)] = setting(
        None, "think removal for this model; a mode alone may stand as text", toml_only=True
    )


class KeyLimits(Section):
    """Limits of one key; missing members are taken from `rate_limit`, and `none` means no limit."""

    requests_per_minute: OptionalCount = setting(
        None, 'as `rate_limit.requests_per_minute`; `"none"` is none', toml_only=True
    )
    tokens_per_minute: OptionalCount = setting(
        None, 'as `rate_limit.tokens_per_minute`; `"none"` is none', toml_only=True
    )
    concurrent_requests: OptionalCount = setting(
        None, 'as `rate_limit.concurrent_requests`; `"none"` is none', toml_only=True
    )


class KeyEntry(Section):
    """One client key, by itself or by its hash."""

    name: Name = setting(..., "the name in logs, metrics and file names", toml_only=True)
    key: Key | None = setting(None, "the client's key", toml_only=True, secret=True)
    key_sha256: Digest | None = setting(
        None, "its SHA-256, so that the file holds no key", toml_only=True, secret=True
    )
    upstream_key: Key | None = setting(
        None,
        "the key that is sent upstream for it, to the origin of `upstream.base_url` and to no other;"
        " without one, its mapping or `upstream.api_key`",
        toml_only=True,
        secret=True,
    )
    models: Globs | None = setting(None, "the models it may use; all without it", toml_only=True)
    endpoints: EndpointNames | None = setting(
        None,
        "the endpoints it may call: names or globs such as `chat/completions`, with or without a method before"
        " them (`GET files/*`), and the sets `@all`, `@metered` and `@read`",
        toml_only=True,
        default_text="`@metered` with `models` or `budget_usd`, else `@all`",
    )
    addresses: Networks | None = setting(
        None, "addresses or CIDR ranges that it may be used from; anywhere without it", toml_only=True
    )
    limits: KeyLimits = setting(KeyLimits(), "its own limits", toml_only=True)
    budget_usd: OptionalDollars = setting(None, "what it may cost in a period", toml_only=True)
    budget_period: Annotated[Literal["day", "month"], LowerCase, Allowed("'day' or 'month'")] = setting(
        "month", "the period of `budget_usd`, in UTC", toml_only=True
    )
    unpriced: Unpriced = setting(
        None,
        "models whose price is not known: 'allow', or 'refuse' (with a budget, once anything is spent)",
        toml_only=True,
        default_text="as `cost.unpriced`; with a budget as `budget_unmeasured`",
    )
    budget_unmeasured: Annotated[Literal["allow", "refuse"], LowerCase, Allowed("'allow' or 'refuse'")] = (
        setting(
            "refuse",
            "with a budget: what happens to requests whose cost cannot be measured (service tiers other than auto,"
            " default and flex, tools with a fee of their own, batches whose input file is not known, models without"
            " a price once anything is spent)",
            toml_only=True,
        )
    )
    on_disconnect: OnDisconnect | None = setting(
        None, "as `on_disconnect`, for this key; it takes precedence over the model's", toml_only=True
    )
    expires: Moment | None = setting(None, "when it stops working", toml_only=True)
    group: Name | None = setting(
        None,
        "the group that it belongs to: one of `[[groups]]`, whose limits and budget apply as well; with"
        " `objects.scope = 'group'` its keys share their stored objects",
        toml_only=True,
    )
    tags: TagValues = setting(
        (), "tags that its requests have whatever their headers say, as `tags`", toml_only=True
    )
    note: Note | None = setting(None, "a note for the operator", toml_only=True)
    owns_all: Flag = setting(
        False, "for an administrator: whether it sees the stored objects of all keys", toml_only=True
    )
    organization: AccountName | None = setting(
        None, "the OpenAI-Organization of its requests, in place of the client's", toml_only=True
    )
    project: AccountName | None = setting(
        None, "the OpenAI-Project of its requests, in place of the client's", toml_only=True
    )
    allow_organization: Flag = setting(
        False, "whether the client's own OpenAI-Organization and OpenAI-Project go upstream", toml_only=True
    )


class GroupLimits(Section):
    """Limits of all keys of a group together; a missing limit is off."""

    requests_per_minute: OptionalCount = setting(None, "requests a minute", toml_only=True)
    tokens_per_minute: OptionalCount = setting(None, "model tokens a minute", toml_only=True)
    concurrent_requests: OptionalCount = setting(None, "requests at once", toml_only=True)


class GroupEntry(Section):
    """A group of keys with limits and a budget that they share."""

    name: Name = setting(..., "the name that `group` of a key, or `parent` of a group, has", toml_only=True)
    parent: Name | None = setting(
        None, "the group that it is a part of: its limits and budget apply as well", toml_only=True
    )
    limits: GroupLimits = setting(GroupLimits(), "limits of all its keys together", toml_only=True)
    budget_usd: OptionalDollars = setting(None, "what all its keys may cost in a period", toml_only=True)
    budget_period: Annotated[Literal["day", "month"], LowerCase, Allowed("'day' or 'month'")] = setting(
        "month", "the period of `budget_usd`, in UTC", toml_only=True
    )


class PriceEntry(Section):
    """The price of a model."""

    match: Text = setting(
        ..., "the model's name, as clients or the upstream write it, or a glob", toml_only=True
    )
    input_usd_per_million: Dollars = setting(..., "US dollars for a million input tokens", toml_only=True)
    output_usd_per_million: Dollars = setting(0.0, "US dollars for a million output tokens", toml_only=True)
    cached_usd_per_million: Dollars | None = setting(
        None,
        "US dollars for a million input tokens that the upstream had in its prompt cache;"
        " without it, as other input",
        toml_only=True,
    )
    cache_write_usd_per_million: Dollars | None = setting(
        None,
        "US dollars for a million input tokens that the upstream wrote into its prompt cache;"
        " without this or one of the following prices, the cost of an answer that used such tokens is not known",
        toml_only=True,
    )
    input_audio_usd_per_million: Dollars | None = setting(
        None, "US dollars for a million audio input tokens", toml_only=True
    )
    output_audio_usd_per_million: Dollars | None = setting(
        None, "US dollars for a million audio output tokens", toml_only=True
    )
    cached_audio_usd_per_million: Dollars | None = setting(
        None, "US dollars for a million cached audio input tokens", toml_only=True
    )
    input_image_usd_per_million: Dollars | None = setting(
        None, "US dollars for a million image input tokens", toml_only=True
    )
    output_image_usd_per_million: Dollars | None = setting(
        None, "US dollars for a million image output tokens", toml_only=True
    )
    cached_image_usd_per_million: Dollars | None = setting(
        None, "US dollars for a million cached image input tokens", toml_only=True
    )
    audio_usd_per_hour: Dollars | None = setting(
        None, "US dollars for an hour of audio, if an answer reports seconds", toml_only=True
    )
    service_tiers: Factors = setting(
        {},
        "factors on these prices by the service tier that the answer names, such as `{ flex = 0.5 }`;"
        " without a factor, the cost in any tier but the default one is not known",
        toml_only=True,
    )


class CacheRule(Section):
    """A further rule that says what is cached, and for how long."""

    endpoint: Annotated[
        Literal["embeddings", "chat/completions", "completions", "responses", "moderations", "models"],
        Allowed("'embeddings', 'chat/completions', 'completions', 'responses', 'moderations' or 'models'"),
    ] = setting(..., "the endpoint", toml_only=True)
    model: Text = setting("*", "the model's name, or a glob", toml_only=True)
    condition: Annotated[
        Literal["deterministic", "temperature_0", "always", "never"],
        LowerCase,
        Allowed("'deterministic', 'temperature_0', 'always' or 'never'"),
    ] = setting(
        "always",
        "which requests: with temperature 0 and a seed, with temperature 0, all, none",
        toml_only=True,
    )
    ttl_s: TimeToLive | None = setting(None, "time to live in seconds", toml_only=True)

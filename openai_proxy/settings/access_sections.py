"""The tables about access: `[auth]`, `[cors]`, `[access]`, `[objects]`.

Values only; `model` puts them together.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from .fields import Allowed, Section, setting
from .header_lines import HeaderNames
from .origins import Origins
from .values import (
    Addresses,
    EndpointNames,
    LowerCase,
    truth_word,
)


def _truth_or_word(value: Any) -> Any:
    """Return `true` or `false` for truth values; leave any other word unchanged."""
    text = str(value).strip().lower() if isinstance(value, bool | str) else value
    words = {"1": "true", "yes": "true", "on": "true", "0": "false", "no": "false", "off": "false"}
    return words.get(text, text)


Required = Annotated[
    Literal["true", "false", "auto"], BeforeValidator(_truth_or_word), Allowed("true, false or 'auto'")
]

PagesRule = Annotated[
    Literal["auto", "loopback", "token", "open"], LowerCase, Allowed("'auto', 'loopback', 'token' or 'open'")
]


class Auth(Section):
    """What callers must show."""

    required: Required = setting(
        "true",
        "pass-through mode: whether a request needs credentials: true, false, or auto"
        " (unless every upstream is plain http)",
    )
    caller_headers: HeaderNames = setting(
        (),
        "further headers that distinguish callers, such as X-Forwarded-User, separated by commas:"
        " callers with different values share no cached answer and, unless a client key is known, no limit",
    )


class Cors(Section):
    """Web origins that may call."""

    origins: Origins = setting(
        (),
        "web origins whose pages may call, separated by commas; '*' for all, but not in inject mode",
        default_text="none",
    )


class Access(Section):
    """Trusted proxies, and who may read the pages."""

    pages: PagesRule = setting(
        "auto",
        "who may read /metrics and the details of / and /health on a port of the API: 'auto' (all; with an "
        "admin.token, loopback or the token), 'loopback', 'token' or 'open'",
    )
    proxies: Addresses = setting(
        (),
        "proxies in front, by address or CIDR range ('unix:' for Unix sockets), separated by commas: their "
        "X-Forwarded-For counts, and no other peer may use the PROXY protocol at a haproxy: port",
        default_text="none: no X-Forwarded-For counts, and every peer may use the PROXY protocol",
    )
    endpoints: EndpointNames | None = setting(
        None,
        "the endpoints that anybody may call, separated by commas: names or globs such as 'chat/completions',"
        " with or without a method before them ('GET files/*'), and the sets @all, @metered and @read",
        default_text="all; with a key of the proxy's own, administration (organization/*, projects/*, vaults/*,"
        " webhook_endpoints/*) only if it is written out",
    )


class Objects(Section):
    """Ownership of stored objects."""

    owners: Annotated[
        Literal["off", "enforce"], BeforeValidator(truth_word), Allowed("'off' or 'enforce'")
    ] = setting(
        "off",
        "whether each client key sees only its own stored objects (files, batches, responses, vector stores and"
        " the like): 'off' or 'enforce'; the owners are kept in the Redis of the limits or in cost.state_file",
    )
    scope: Annotated[Literal["key", "group"], LowerCase, Allowed("'key' or 'group'")] = setting(
        "key", "whether the keys of one `group` share their objects: 'key' or 'group'"
    )
    unknown: Annotated[Literal["refuse", "allow"], LowerCase, Allowed("'refuse' or 'allow'")] = setting(
        "refuse",
        "what happens with objects without a recorded owner, which are older than `owners`: 'refuse' or 'allow'",
    )

"""Check URLs in the settings: those of upstreams and of stores.

Pure; errors repeat nothing of the value.
"""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr

from ..net.host_names import ascii_host
from ..wire.mock_url import SCHEME as MOCK
from ..wire.mock_url import parse_mock
from .fields import Allowed

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?|[0-9A-Fa-f:.]+")
_VISIBLE = re.compile(r"[!-~]+")
_DOTS = re.compile(r"(^|/)(\.|%2e){1,2}(/|$)|//|\\", re.I)
_NO_STORE = ("off", "none")
REPLAY = "replay:"
_SERVERLESS = (MOCK, REPLAY)


def check_origin(text: str) -> None:
    """Check a URL's host, and its port from 1 to 65535.

    Raises ValueError, which repeats nothing of the URL.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
        rest = text if host is None or host.isascii() else text.replace(_written_host(parts.netloc), "", 1)
    except ValueError:
        # its message may repeat a part of a password
        raise ValueError("has no valid host or port") from None
    if not _VISIBLE.fullmatch(rest):
        raise ValueError("holds characters that no URL has")
    if not host or not _HOST.fullmatch(_ascii(host)):
        raise ValueError("names no valid host")
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError("names no valid port")


def _written_host(netloc: str) -> str:
    """Return the host as it is written in a URL, possibly in capitals and in any script."""
    return netloc.rpartition("@")[2].partition(":")[0]


def _ascii(host: str) -> str:
    try:
        return ascii_host(host)
    except ValueError:
        raise ValueError("names no valid host") from None


_ENDPOINT = re.compile(
    r"/(chat/completions|completions|embeddings|responses|realtime|audio/(?:speech|transcriptions|translations)"
    r"|images/generations|v1/models)/*$",
    re.I,
)


def origin_of(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of a URL that has been checked."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, parts.hostname or "", parts.port or (443 if scheme == "https" else 80)


def _base_url(value: str) -> str:
    value = value.strip()
    if is_serverless(value.lower()):
        return _serverless(value)
    if not value.lower().startswith(("http://", "https://")):
        raise ValueError("is no http or https URL")
    if "@" in value.split("//", 1)[1].split("/", 1)[0]:
        raise ValueError("holds userinfo")
    if "?" in value or "#" in value:
        raise ValueError("holds a query or fragment")
    check_origin(value)
    endpoint = _ENDPOINT.search(urlsplit(value).path)
    if endpoint:
        raise ValueError(f"ends in the endpoint {endpoint[1]}: leave it out, for the proxy adds it")
    if _DOTS.search(urlsplit(value).path.rstrip("/")):
        raise ValueError("has a path with empty or dot segments")
    # In the form that is called, so that the start line, /health and --check-config show it.
    value = value.rstrip("/")
    return value if urlsplit(value).path else value + "/v1"


def is_serverless(base_url: str) -> bool:
    """Return whether an upstream is no server: this process imitates it, and it needs neither key nor network."""
    return base_url.startswith(_SERVERLESS)


def is_replay(base_url: str) -> bool:
    """Return whether an upstream replays recorded answers."""
    return base_url.startswith(REPLAY)


def _serverless(value: str) -> str:
    scheme, _, rest = value.partition(":")
    value = f"{scheme.lower()}:{rest}"
    if not is_replay(value):
        parse_mock(value)
    elif not rest.strip() or not rest.isprintable():
        raise ValueError("replay: must name a directory")
    return value


def _store_url(value: SecretStr, embedded: bool) -> SecretStr:
    text = value.get_secret_value().strip()
    if embedded and text == "memory:":
        return SecretStr(text)
    if not text.startswith(("redis://", "rediss://")):
        raise ValueError("has another scheme")
    check_origin(text)
    parts = urlsplit(text)
    if parts.query or parts.fragment or not re.fullmatch(r"(/[0-9]{0,5})?", parts.path):
        raise ValueError("a Redis URL ends with the number of its database")
    return SecretStr(text)


def _store(value: SecretStr | None) -> SecretStr | None:
    return None if value is None else _store_url(value, embedded=True)


def _redis(value: SecretStr | None) -> SecretStr | None:
    return None if value is None else _store_url(value, embedded=False)


def sqlite_path(url: str) -> str | None:
    """Return the path of `sqlite:PATH` or `sqlite:///PATH`; None for another URL.

    >>> sqlite_path("sqlite:keys.sqlite3"), sqlite_path("sqlite:///var/keys.sqlite3"), sqlite_path("redis://h")
    ('keys.sqlite3', '/var/keys.sqlite3', None)
    """
    scheme, _, path = url.partition(":")
    if scheme.lower() != "sqlite":
        return None
    return path[2:] if path.startswith("///") else path


def _key_store(value: SecretStr | None) -> SecretStr | None:
    if value is None:
        return None
    path = sqlite_path(value.get_secret_value().strip())
    if path is None:
        return _store_url(value, embedded=False)
    if not path.strip() or not path.isprintable() or path.startswith("//"):
        raise ValueError("sqlite: must name a file")
    return SecretStr(f"sqlite:{path}")


def _off(value: Any) -> Any:
    return None if isinstance(value, str) and value.strip().lower() in _NO_STORE else value


KeyStoreURL = Annotated[
    SecretStr | None,
    BeforeValidator(_off),
    AfterValidator(_key_store),
    Allowed("'sqlite:PATH', 'redis://host:port/db', 'rediss://host:port/db' or 'none'"),
]
BaseURL = Annotated[
    str,
    AfterValidator(_base_url),
    Allowed(
        "an http or https URL: host, port from 1 to 65535 if one is given, path;"
        " no userinfo, query or fragment; 'mock:' or 'replay:DIRECTORY'"
    ),
]
CacheURL = Annotated[
    SecretStr | None,
    BeforeValidator(_off),
    AfterValidator(_store),
    Allowed("'memory:', 'redis://host:port/db', 'rediss://host:port/db' or 'none'"),
]
RedisURL = Annotated[
    SecretStr | None,
    BeforeValidator(_off),
    AfterValidator(_redis),
    Allowed("'redis://host:port/db', 'rediss://host:port/db' or 'none'"),
]

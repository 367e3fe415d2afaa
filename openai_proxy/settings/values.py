"""Types of the settings' values: each has its allowed values in words.

A value comes as text (from a variable or an option) or as a TOML value; both
are checked in the same way.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from ..exchange.client_address import TrustedProxies, parse_network
from ..wire.endpoint_rules import parse_rules
from .fields import Allowed

MIB: Final = 1024 * 1024
MAX_SECONDS: Final = 2_000_000
"""About 23 days: longer timers do not fit into a poll of the operating system."""
MAX_TTL_S: Final = 315_360_000
"""Ten years."""
MAX_COUNT: Final = 2**53
"""Whole numbers up to this are exact in every language that may read them."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PORT = re.compile(r"(?:haproxy:)*(?:tcp6?|ssl):(?:port=)?(-?[0-9]{1,20})(?![^:])")
_OFF = ("off", "none")
_FORBIDDEN_HEADERS = frozenset(
    [
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    ]
)


def _number(value: Any) -> Any:
    # A truth value is an int in Python, but `max_retries = true` is a mistake.
    if isinstance(value, bool):
        raise ValueError("a truth value is no number")
    return value.strip() if isinstance(value, str) else value


def _off(value: Any) -> Any:
    return None if isinstance(value, str) and value.strip().lower() in _OFF else value


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def on_off(value: Any) -> Any:
    """Return a word in lower case; anything else unchanged."""
    return value.strip().lower() if isinstance(value, str) else value


def truth_word(value: Any) -> Any:
    """Return `off` for false, a word in lower case, anything else unchanged."""
    return "off" if value is False else on_off(value)


def _level(value: Any) -> Any:
    value = _lower(value)
    return "warn" if value == "warning" else value


def _token(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise ValueError("not a token")
    return value


def _pseudonym(value: str) -> str:
    return _token(value) if value else value


def _header_name(value: str) -> str:
    value = _token(value).lower()
    if value in _FORBIDDEN_HEADERS:
        raise ValueError("this header has another use")
    return value


def _no_surprise(value: SecretStr) -> SecretStr:
    check_key(value.get_secret_value())
    return value


QUOTES = "\"'"


def check_key(text: str) -> None:
    """Raise ValueError unless `text` can be sent in an HTTP header as a key."""
    if text and not {text[0], text[-1]}.isdisjoint(QUOTES):
        raise ValueError("it stands in quotes, which belong to the file or shell that it came from")
    if text.lower().startswith("bearer "):
        raise ValueError("it begins with the word Bearer, which the proxy adds")
    if any(char.isspace() for char in text):
        raise ValueError("there is a space or the end of a line in it")
    if not text or any(not "!" <= char <= "~" for char in text):
        raise ValueError("a key is visible ASCII characters without spaces")


def _line(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().isprintable() or not value.get_secret_value():
        raise ValueError("not one line of text")
    return value


def _endpoint(value: str) -> str:
    if value.isascii() and value.isdigit():
        value = f"tcp:{value}"
    port = _PORT.match(value)
    if port and not 0 <= int(port[1]) <= 65535:
        raise ValueError("a port is a number from 0 to 65535")
    return value


def _port_number(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _one_or_more(value: Any) -> Any:
    value = _port_number(value)
    return words(value) if isinstance(value, str) else value


def words(value: Any) -> Any:
    """Split text at white space; leave anything else unchanged."""
    return value.split() if isinstance(value, str) else value


def _addresses(value: Any) -> Any:
    if isinstance(value, str):
        value = [] if value.strip().lower() in _OFF else re.split(r"[,\s]+", value.strip())
        value = [entry for entry in value if entry]
    return ["unix:" if entry in ("unix", "unix:") else entry for entry in value] if _is_list(value) else value


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _check_addresses(value: tuple[str, ...]) -> tuple[str, ...]:
    TrustedProxies.of(value)
    return tuple(dict.fromkeys(value))


def _networks(value: Any) -> Any:
    value = _addresses(value)
    if _is_list(value) and not value:
        raise ValueError("an empty list would let nobody in")
    return value


def _check_networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for entry in value:
        parse_network(entry)
    return tuple(dict.fromkeys(value))


def _endpoint_names(value: Any) -> Any:
    return [part for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _check_endpoint_names(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(parse_rules(value)))


_Whole = Annotated[int, BeforeValidator(_number)]
_Real = Annotated[float, BeforeValidator(_number)]
_PositiveInt = Annotated[_Whole, Field(gt=0, le=MAX_COUNT)]
_PositiveSeconds = Annotated[_Real, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)]

Count = Annotated[_PositiveInt, Allowed("a whole number, 1 or more")]
OptionalCount = Annotated[
    _PositiveInt | None, BeforeValidator(_off), Allowed("a whole number, 1 or more, or 'none'")
]
NaturalCount = Annotated[_Whole, Field(ge=0, le=1_000_000), Allowed("a whole number from 0 to 1000000")]
BytesOrZero = Annotated[_Whole, Field(ge=0, le=MAX_COUNT), Allowed("a whole number, 0 or more")]
Retries = Annotated[_Whole, Field(ge=0, le=100), Allowed("a whole number from 0 to 100")]
FewConnections = Annotated[_Whole, Field(ge=0, le=100), Allowed("a whole number from 0 to 100")]
Workers = Annotated[_Whole, Field(ge=1, le=1024), Allowed("a whole number from 1 to 1024")]
Seconds = Annotated[_PositiveSeconds, Allowed(f"a number of seconds above 0, at most {MAX_SECONDS}")]
OptionalSeconds = Annotated[
    _PositiveSeconds | None,
    BeforeValidator(_off),
    Allowed(f"a number of seconds above 0, at most {MAX_SECONDS}, or 'none'"),
]
SecondsOrZero = Annotated[
    _Real,
    Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False),
    Allowed(f"a number of seconds from 0 to {MAX_SECONDS}"),
]
TimeToLive = Annotated[
    _Real,
    Field(gt=0, le=MAX_TTL_S, allow_inf_nan=False),
    Allowed(f"a number of seconds above 0, at most {MAX_TTL_S}"),
]
OptionalDollars = Annotated[
    Annotated[_Real, Field(gt=0, allow_inf_nan=False)] | None,
    BeforeValidator(_off),
    Allowed("an amount of US dollars above 0"),
]
Dollars = Annotated[
    _Real, Field(ge=0, le=1_000_000, allow_inf_nan=False), Allowed("an amount of US dollars, 0 or more")
]
Weight = Annotated[
    _Real, Field(gt=0, le=1_000_000, allow_inf_nan=False), Allowed("a number above 0, at most 1000000")
]
Flag = Annotated[bool, BeforeValidator(_lower), Allowed("true or false")]
Text = Annotated[str, Field(min_length=1), Allowed("text, not empty")]
Line = Annotated[SecretStr, AfterValidator(_line), Allowed("one line of text")]
Endpoint = Annotated[
    Text,
    BeforeValidator(_port_number),
    AfterValidator(_endpoint),
    Allowed("a Twisted server endpoint string, such as 'tcp:8080', or a port number from 0 to 65535"),
]
Addresses = Annotated[
    tuple[str, ...],
    BeforeValidator(_addresses),
    AfterValidator(_check_addresses),
    Allowed("a list of addresses, CIDR ranges such as 10.0.0.0/8, and 'unix:'"),
]
Networks = Annotated[
    tuple[str, ...],
    BeforeValidator(_networks),
    AfterValidator(_check_networks),
    Allowed("a list of addresses and CIDR ranges such as 10.0.0.0/8"),
]
EndpointNames = Annotated[
    tuple[str, ...],
    BeforeValidator(_endpoint_names),
    AfterValidator(_check_endpoint_names),
    Allowed(
        "a list of endpoints such as 'chat/completions', 'GET files/*' or a set: '@all', '@metered', '@read'"
    ),
]
HeaderName = Annotated[
    str,
    AfterValidator(_header_name),
    Allowed("'authorization' or the name of another header that can carry a key, such as 'api-key'"),
]
Pseudonym = Annotated[
    str, AfterValidator(_pseudonym), Allowed("one word, as the Via header takes it, or empty text for no Via")
]
Key = Annotated[
    SecretStr, AfterValidator(_no_surprise), Allowed("a key: visible ASCII characters without spaces")
]
LogLevel = BeforeValidator(_level)
LowerCase = BeforeValidator(_lower)
Off = BeforeValidator(_off)
Words = BeforeValidator(words)
OneOrMore = BeforeValidator(_one_or_more)
"""As `Words`, a port number standing for itself."""

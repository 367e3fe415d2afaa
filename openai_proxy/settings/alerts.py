"""`[alerts]`: when to alert about a budget that is nearly spent, and where to."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from .fields import Allowed, Section, setting
from .values import Key, LowerCase

_NONE = ("", "none", "off")
_MOST_PARTS = 20


def _parts(value: Any) -> Any:
    if isinstance(value, str):
        value = [] if value.strip().lower() in _NONE else value.replace(",", " ").split()
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = [value]
    return value


def _in_order(value: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(sorted(set(value)))


def _off(value: Any) -> Any:
    return None if isinstance(value, str) and value.strip().lower() in _NONE else value


def _http(value: SecretStr | None) -> SecretStr | None:
    if value is not None:
        parts = urlsplit(value.get_secret_value())
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment:
            raise ValueError("not a URL")
    return value


class Alerts(Section):
    """Alerts about a budget that is nearly spent."""

    at: Annotated[
        tuple[Annotated[float, Field(gt=0, le=10)], ...],
        Field(max_length=_MOST_PARTS),
        BeforeValidator(_parts),
        AfterValidator(_in_order),
        Allowed("numbers above 0, at most 10, such as 0.8, 1.0; or 'none'"),
    ] = setting(
        (0.8, 1.0),
        "the shares of a budget at which an alert is sent, once for each key and period",
        default_text="0.8,1.0",
    )
    url: Annotated[
        SecretStr | None,
        BeforeValidator(_off),
        AfterValidator(_http),
        Allowed("an http or https URL without a fragment, or 'none'"),
    ] = setting(
        None, "where alerts are posted as JSON, besides the log", secret=True, url=True, default_text="none"
    )
    format: Annotated[Literal["json", "slack"], LowerCase, Allowed("'json' or 'slack'")] = setting(
        "json", "the form of the alerts: 'json' (an event) or 'slack' (a text)"
    )
    secret: Key | None = setting(
        None,
        "the key that alerts are signed with, as OpenAI signs its webhooks (base64 after whsec_, or any text)",
        secret=True,
    )

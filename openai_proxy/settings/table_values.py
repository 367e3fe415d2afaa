"""Types of the values in arrays of tables: names, digests, times, globs. Each has its allowed values in words."""

from __future__ import annotations

import re
from datetime import date, datetime, timezone
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from .fields import Allowed
from .values import (
    LowerCase,
)

_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,100}")

ThinkMode = Annotated[
    Literal["keep", "strip", "reasoning_content"],
    LowerCase,
    Allowed("'keep', 'strip' or 'reasoning_content'"),
]

ThinkWhere = Annotated[Literal["anywhere", "start"], LowerCase, Allowed("'anywhere' or 'start'")]


def _name(value: str) -> str:
    if not _NAME.fullmatch(value) or value != value.strip():
        raise ValueError("not a name")
    return value


def _digest(value: SecretStr) -> SecretStr:
    text = value.get_secret_value().lower()
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise ValueError("not a SHA-256")
    return SecretStr(text)


def _moment(value: Any) -> Any:
    """Return an aware datetime from a TOML date or time, or from ISO 8601 text; UTC if it has no zone."""
    if isinstance(value, str):
        # Python 3.10 does not accept the Z
        try:
            value = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", value.strip()))
        except ValueError:
            raise ValueError("not a time") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        raise ValueError("not a time")
    value = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
    try:
        value.astimezone(timezone.utc)  # as it is shown
    except OverflowError:
        raise ValueError("not a time of the years 1 to 9999 in UTC") from None
    return value


def _list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Name = Annotated[
    str, AfterValidator(_name), Allowed("a name of 1 to 100 characters, without control characters")
]
Digest = Annotated[SecretStr, AfterValidator(_digest), Allowed("the key's SHA-256 in 64 hex digits")]
Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    Allowed("a date or a time such as 2030-01-31T12:00:00Z"),
]
Globs = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(_list),
    Allowed("a list of model names or globs"),
]
Factors = Annotated[
    dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]],
    Allowed("a table of numbers from 0"),
]
AccountName = Annotated[
    str,
    Field(pattern=r"^[!-~]{1,200}$"),
    Allowed("the ID of an organization or project: visible ASCII characters without spaces"),
]
Note = Annotated[
    str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,500}$"), Allowed("text of 1 to 500 characters, on one line")
]
Parameters = Annotated[dict[str, Any], Allowed("a table of request parameters")]

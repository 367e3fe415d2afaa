"""The error of the settings, and the masking of values in it.

Pure; imported by every module of this package.
"""

from __future__ import annotations

import re

from ..wire.key_like import KEY_LIKE

REDACTED = "[redacted]"
_MAX_SHOWN = 80
"""The number of characters of a bad value that an error line repeats."""

_USERINFO = re.compile(r"(?<=//)[^/?#\s]*@")
_SPEC_SECRET = re.compile(
    r"([A-Za-z_]*(?:key|token|secret|passw|credential|connection_string|headers|sas)[A-Za-z_]*)"
    r"=(?:\\.|[^:\\])*",
    re.I,
)


class SettingsError(ValueError):
    """A configuration that cannot work: one line for people, secrets masked."""


def mask_url(text: str) -> str:
    """Replace the userinfo of every URL in `text`.

    >>> mask_url("redis://user:pw@host/0")
    'redis://[redacted]@host/0'
    """
    return _USERINFO.sub(REDACTED + "@", text)


def mask_spec(text: str) -> str:
    r"""Replace the values of an observer spec's parameters that hold secrets.

    >>> mask_spec(r"exchange-log:url=az\://logs:account_name=a:account_key=xyz==")
    'exchange-log:url=az\\://logs:account_name=a:account_key=[redacted]'
    """
    return mask_url(_SPEC_SECRET.sub(rf"\1={REDACTED}", text))


def mask_whole_url(text: str) -> str:
    """Mask a value that should be one URL, even a malformed one: up to its last `@`, its query and fragment."""
    text = re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*://)?.*@", rf"\1{REDACTED}@", text, flags=re.S)
    return re.sub(r"([?#]).*", rf"\1{REDACTED}", text, flags=re.S)


def without_keys(text: str) -> str:
    """Mask what looks like a key in `text`: it may have been put into the wrong setting."""
    return KEY_LIKE.sub(REDACTED, text)


def shown(value: object) -> str:
    """Return a bad value for an error line: short, on one line, with URLs and keys masked."""
    if isinstance(value, str):
        text = repr(without_keys(mask_whole_url(value) if "@" in value or "://" in value else value))
    elif isinstance(value, dict):
        text = "a table"
    elif isinstance(value, list | tuple):
        text = "a list"
    elif isinstance(value, bool):
        text = str(value).lower()
    else:
        text = str(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."

"""The settings as text for people, secrets masked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from pydantic import SecretStr

from ..wire.keys import key_digest, key_name
from .errors import REDACTED, mask_spec, mask_whole_url
from .fields import Doc, Section, doc_of
from .model import Settings
from .schema import leaves
from .tenants import mode
from .warnings import warnings


def describe(settings: Settings, warned: Iterable[str] | None = None, *, only_changed: bool = False) -> str:
    """Return the mode and every setting as `toml.path = value`, with its source, or with the meaning of the default.

    With `only_changed`, only settings whose value is not the default.
    """
    warned = warnings(settings) if warned is None else warned
    lines = [f"mode: {mode(settings)}", *(f"# warning: {line}" for line in warned)]
    for leaf in leaves():
        value: Any = settings
        for step in leaf.path.split("."):
            value = getattr(value, step)
        if only_changed and value == leaf.field.get_default(call_default_factory=True):
            continue
        origin = settings.origin(leaf.path)
        remark = f"  # from {origin}" if origin else _default_in_words(value, leaf.doc)
        lines += [f"{path} = {text}{remark}" for path, text in _render(leaf.path, value, leaf.doc)]
    return "\n".join(lines)


def _default_in_words(value: Any, doc: Doc) -> str:
    """Return the meaning of None, if it is not just "none"."""
    return f"  # {doc.default}" if value is None and doc.default not in (None, "none", "off") else ""


def _render(path: str, value: Any, doc: Doc) -> Iterator[tuple[str, str]]:
    if isinstance(value, tuple) and value and isinstance(value[0], Section):
        for index, entry in enumerate(value):
            yield from _render(f"{path}[{index}]", entry, doc)
    elif isinstance(value, Section):
        for name, field in type(value).model_fields.items():
            yield from _render(f"{path}.{name}", getattr(value, name), doc_of(field))
    else:
        yield path, _text(path, value, doc)


def _text(path: str, value: Any, doc: Doc) -> str:
    if value is None:
        return "none"
    if path == "observers":
        value = [mask_spec(spec) for spec in value]
    elif path == "client_api_keys":
        value = [_name(key.get_secret_value()) for key in value]
    elif path == "api_key_mapping":
        value = {_name(client.get_secret_value()): REDACTED for client, _ in value}
    elif doc.secret and isinstance(value, tuple):
        value = {name: REDACTED for name, _ in value}
    elif isinstance(value, SecretStr):
        value = _secret(path, value.get_secret_value(), doc)
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _secret(path: str, secret: str, doc: Doc) -> str:
    if doc.url:
        return mask_whole_url(secret)
    if path.endswith("].key_sha256"):
        return key_name(bytes.fromhex(secret))
    return _name(secret) if path.endswith("].key") else REDACTED


def _name(key: str) -> str:
    return key_name(key_digest(key.encode()))


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)

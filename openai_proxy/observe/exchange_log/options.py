"""Read the parameters of an `exchange-log` spec."""

from __future__ import annotations

from collections.abc import Mapping

from ..interfaces import Observer, ObserverContext, ObserverOptions
from ..paths import check_directory
from .files import LogDirectory
from .observer import ExchangeLog, LineStore
from .remote.spooled import SpooledLines
from .remote.storage import is_secret, parse_remote

_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_CHOICES = ("bodies", "raw", "sample", "models", "keys", "on_full")
_LOCAL = ("max_bytes", "keep_days")
_SPOOL = ("url", "spool", "spool_bytes")


def build(options: ObserverOptions) -> Observer:
    """Return the exchange log that a spec describes; ValueError if it cannot work."""
    options.no_positional()
    refuses = _refuses(options.spec.kwargs.get("on_full", "lose"))
    if "url" in options.spec.kwargs:
        parameters = dict(options.spec.kwargs)
        store: LineStore = _remote(parameters, options.context)
    else:
        parameters = options.parameters("dir", *_CHOICES, *_LOCAL)
        if "dir" not in parameters:
            raise ValueError("say where to: exchange-log:dir=DIRECTORY or exchange-log:url=URL")
        store = LogDirectory(
            check_directory(parameters["dir"]),
            max_bytes=_number(parameters, "max_bytes", "bytes"),
            keep_days=_number(parameters, "keep_days", "days"),
            beyond=refuses,
        )
    bodies = _boolean("bodies", parameters.get("bodies", "true"))
    raw = _boolean("raw", parameters.get("raw", "false"))
    if raw and not bodies:
        raise ValueError("raw=true needs bodies")
    return ExchangeLog(
        store,
        options.context.body_limit_bytes,
        bodies=bodies,
        raw=raw,
        sample=_sample(parameters.get("sample", "1")),
        models=_names(parameters.get("models")),
        keys=_names(parameters.get("keys")),
        secrets=options.context.secrets,
        refuses=refuses,
    )


def _remote(parameters: Mapping[str, str], context: ObserverContext) -> SpooledLines:
    if "dir" in parameters:
        raise ValueError("dir and url are two places: write two observers")
    local = next((name for name in _LOCAL if name in parameters), None)
    if local is not None:
        raise ValueError(f"{local} is for dir=; what waits for a remote store is bounded by spool_bytes")
    storage = {name: value for name, value in parameters.items() if name not in (*_CHOICES, *_SPOOL)}
    secret = next((name for name in storage if is_secret(name)), None)
    if secret is not None and context.on_command_line:
        raise ValueError(
            f"{secret} is a secret, and everybody can see the command line:"
            " set OBSERVERS, or AZURE_STORAGE_... variables, in the environment"
        )
    remote = parse_remote(parameters["url"], storage, context.azure)
    directory = check_directory(parameters.get("spool", context.spool_directory))
    return SpooledLines(remote, directory, _bytes(parameters, context), context.reactor)


def _refuses(on_full: str) -> bool:
    if on_full not in ("lose", "refuse"):
        raise ValueError("on_full is lose or refuse")
    return on_full == "refuse"


def _number(parameters: Mapping[str, str], name: str, unit: str) -> int | None:
    text = parameters.get(name)
    if text is None:
        return None
    most = 2**53 if unit == "bytes" else 36_500
    if not (text.isascii() and text.isdigit() and 0 < int(text[:20]) <= most):
        raise ValueError(f"{name} is a number of {unit}, 1 to {most}")
    return int(text)


def _bytes(parameters: Mapping[str, str], context: ObserverContext) -> int:
    text = parameters.get("spool_bytes", str(context.spool_bytes))
    if not (text.isascii() and text.isdigit() and 0 < int(text[:20]) <= 2**53):
        raise ValueError("spool_bytes is a number of bytes, 1 or more")
    return int(text)


def _boolean(name: str, text: str) -> bool:
    value = _BOOLEANS.get(text.lower())
    if value is None:
        raise ValueError(f"{name} is true or false")
    return value


def _sample(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise ValueError("sample is a number from 0 to 1")
    return value


def _names(text: str | None) -> frozenset[str] | None:
    if text is None:
        return None
    names = frozenset(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise ValueError("models and keys are lists of names with commas between them")
    return names

"""Read the parameters of an `exchange-log` spec."""

from __future__ import annotations

from ..interfaces import Observer, ObserverOptions
from ..places import check_directory
from .files import LogDirectory
from .observer import ExchangeLog

_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def build(options: ObserverOptions) -> Observer:
    """Return the exchange log that a spec describes; ValueError where it can not work."""
    options.no_positional()
    parameters = options.parameters("dir", "bodies", "sample", "models", "keys")
    if "dir" not in parameters:
        raise ValueError("say where to: exchange-log:dir=DIRECTORY")
    return ExchangeLog(
        LogDirectory(check_directory(parameters["dir"])),
        options.context.body_limit_bytes,
        bodies=_boolean(parameters.get("bodies", "true")),
        sample=_sample(parameters.get("sample", "1")),
        models=_names(parameters.get("models")),
        keys=_names(parameters.get("keys")),
        secrets=options.context.secrets,
    )


def _boolean(text: str) -> bool:
    value = _BOOLEANS.get(text.lower())
    if value is None:
        raise ValueError("bodies is true or false")
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

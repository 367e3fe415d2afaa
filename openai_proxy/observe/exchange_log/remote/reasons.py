"""Why a remote store refused, without addresses and secrets.

Libraries put whole URLs into their messages, signatures included: of an
error, only its status, its code and what the operating system said is shown. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

_DEPTH = 6


def reason_of(error: BaseException) -> str:
    """Return one short line for any exception."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        code = getattr(error, "error_code", None)
        return f"HTTP {status} {getattr(code, 'value', code) or ''}".strip()
    name = type(error).__name__
    said = next((said for each in _chain(error, _DEPTH) if (said := _said_by(each))), None)
    return f"{name}, {said}" if said else name


def _said_by(error: BaseException) -> str | None:
    """Return what the system said (errno), or the code of an answer in the way of AWS."""
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return error.strerror.partition("[")[0].strip()
    answer = getattr(error, "response", None)
    details = answer.get("Error") if isinstance(answer, dict) else None
    code = details.get("Code") if isinstance(details, dict) else None
    return code if isinstance(code, str) and code.isalnum() and len(code) <= 60 else None


def _chain(error: object, depth: int) -> Iterator[BaseException]:
    """Yield an error and those below it, however their libraries keep them."""
    if not isinstance(error, BaseException) or not depth:
        return
    yield error
    below = (error.__cause__, error.__context__, *(getattr(error, name, None) for name in _BELOW))
    for each in (*below, *error.args[:2]):
        yield from _chain(each, depth - 1)


_BELOW = ("inner_exception", "reason")

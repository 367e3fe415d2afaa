"""Say why a remote store did not take something, without addresses and secrets. Pure.

Libraries put whole URLs into their messages, signatures included: of an
error, only its status, its code and what the operating system said is told.
"""

from __future__ import annotations

_DEPTH = 8


def reason_of(error: BaseException) -> str:
    """Return one short line for any exception."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        code = getattr(error, "error_code", None)
        return f"HTTP {status} {getattr(code, 'value', code) or ''}".strip()
    said = _system_says(error, _DEPTH)
    name = type(error).__name__
    return f"{name}, {said}" if said else name


def _system_says(error: object, depth: int) -> str | None:
    """Return what the operating system said below an error, or None."""
    if not isinstance(error, BaseException) or not depth:
        return None
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return error.strerror.partition("[")[0].strip()
    below = (
        error.__cause__,
        error.__context__,
        getattr(error, "inner_exception", None),
        getattr(error, "reason", None),
        *error.args[:2],
    )
    return next((said for each in below if (said := _system_says(each, depth - 1))), None)

"""Check, while an observer is built, that it will be able to write.

Nothing stays behind: the daemon has not forked nor dropped privileges yet.
"""

from __future__ import annotations

import os
import tempfile


def check_file(path: str) -> str:
    """Return `path` made absolute; ValueError if no file could be appended to there."""
    absolute = _absolute(path)
    if os.path.isdir(absolute):
        raise ValueError(f"{path!r} is a directory, not a file")
    parent = os.path.dirname(absolute)
    if not os.path.isdir(parent):
        raise ValueError(f"there is no directory {parent!r}")
    target = absolute if os.path.exists(absolute) else parent
    if not os.access(target, os.W_OK):
        raise ValueError(f"{target!r} cannot be written")
    return absolute


def check_directory(path: str) -> str:
    """Return `path` made absolute; ValueError if it neither is nor can become a writable directory.

    Tries for real, since a superuser's permission bits say nothing about
    /proc or a read-only mount: the missing part is made inside a directory
    that only this process knows, since the daemon's workers check the same
    path at the same time, and is removed again.
    """
    absolute = _absolute(path)
    missing: list[str] = []
    here = absolute
    while not os.path.lexists(here):
        missing.insert(0, os.path.basename(here))
        here = os.path.dirname(here)
    if not os.path.isdir(here):
        raise ValueError(f"{here!r} is not a directory")
    if missing:
        _try_to_make(path, here, missing)
    elif not os.access(absolute, os.W_OK | os.X_OK):
        raise ValueError(f"the directory {path!r} cannot be written")
    return absolute


def _try_to_make(path: str, here: str, missing: list[str]) -> None:
    try:
        with tempfile.TemporaryDirectory(prefix=".openai-proxy-", dir=here) as trial:
            os.makedirs(os.path.join(trial, *missing))
    except OSError as error:
        raise ValueError(f"the directory {path!r} cannot be created: {error.strerror}") from error


def _absolute(path: str) -> str:
    if not path or "\0" in path:
        raise ValueError("a path is missing")
    return os.path.abspath(os.path.expanduser(path))

"""Check, while an observer is built, that it will be able to write.

Nothing stays behind: the daemon has not forked nor dropped privileges yet.
"""

from __future__ import annotations

import os


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
    /proc or a read-only mount; what it creates it removes again.
    """
    absolute = _absolute(path)
    missing = []
    here = absolute
    while not os.path.lexists(here):
        missing.append(here)
        here = os.path.dirname(here)
    if not os.path.isdir(here):
        raise ValueError(f"{here!r} is not a directory")
    created = []
    try:
        for each in reversed(missing):
            os.mkdir(each)
            created.append(each)
    except OSError as error:
        raise ValueError(f"the directory {path!r} cannot be created: {error.strerror}") from error
    finally:
        for each in reversed(created):
            os.rmdir(each)
    if not missing and not os.access(absolute, os.W_OK | os.X_OK):
        raise ValueError(f"the directory {path!r} cannot be written")
    return absolute


def _absolute(path: str) -> str:
    if not path or "\0" in path:
        raise ValueError("a path is missing")
    return os.path.abspath(os.path.expanduser(path))

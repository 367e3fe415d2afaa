"""Standard output of the commands: print to readers that may close it before the end."""

from __future__ import annotations

import io
import os
import sys


def show(text: str) -> int:
    """Print `text` on standard output; return 0.

    A reader that has seen enough, such as `head`, is no error. Characters that
    the locale's encoding does not have are escaped.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        print(text, flush=True)
    except BrokenPipeError:
        reader_left()
    return 0


def reader_left() -> None:
    """Redirect standard output to the null device, because Python flushes once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

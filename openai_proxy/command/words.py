"""What the sub-commands say, and their exit statuses."""

from __future__ import annotations

import argparse
import io
import os
import sys
from typing import NoReturn

FAILED = 1
USAGE = 2
"""The command line itself is wrong."""


def show(text: str) -> int:
    """Print `text` on standard output; return 0.

    A reader that has seen enough, such as `head`, is no mistake of anybody's.
    What the locale's encoding does not have is escaped.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        print(text, flush=True)
    except BrokenPipeError:
        reader_left()
    return 0


def reader_left() -> None:
    """Write standard output to nowhere from now on: Python flushes once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(line: str, status: int = FAILED) -> int:
    """Print one line on standard error; return `status`."""
    print(f"openai-proxy: {line}", file=sys.stderr)
    return status


class Parser(argparse.ArgumentParser):
    """argparse's, whose mistakes are one line as everywhere in this command."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line, and exit."""
        raise SystemExit(complain(f"{message} (see {self.prog} --help)", USAGE))

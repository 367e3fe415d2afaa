"""Error lines and exit statuses of the sub-commands."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

FAILED = 1
USAGE = 2
"""The command line itself is wrong."""


def complain(line: str, status: int = FAILED) -> int:
    """Print one line on standard error; return `status`."""
    print(f"openai-proxy: {line}", file=sys.stderr)
    return status


class Parser(argparse.ArgumentParser):
    """argparse's parser, but a mistake is reported in one line, as everywhere in this command."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong with the command line, and exit."""
        raise SystemExit(complain(f"{message} (see {self.prog} --help)", USAGE))

"""The command `twistd openai-proxy` on an unsupported system: one line that names the supported ones."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from twisted.python import usage

WINDOWS = (
    "openai-proxy does not run on Windows itself: run it in WSL or in Docker (see docs/how-to/docker.md)"
)


class Options(usage.Options):
    """Accepts any options, and exits."""

    def parseOptions(self, options: Sequence[str] | None = None) -> NoReturn:
        """Print the reason on stderr, and exit with 1."""
        print(WINDOWS, file=sys.stderr)
        raise SystemExit(1)


def makeService(options: Options) -> NoReturn:
    """Never called, because parsing the options exits."""
    raise SystemExit(WINDOWS)

"""What `twistd openai-proxy` is on a system that the proxy does not run on: one line that says what does."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from twisted.python import usage

WINDOWS = (
    "openai-proxy does not run on Windows itself: run it in WSL or in Docker (see docs/how-to/docker.md)"
)


class Options(usage.Options):
    """Takes any options, and stops."""

    def parseOptions(self, options: Sequence[str] | None = None) -> NoReturn:
        """Say why this cannot be, on stderr, and exit 1."""
        print(WINDOWS, file=sys.stderr)
        raise SystemExit(1)


def makeService(options: Options) -> NoReturn:
    """Never called: the options stop before."""
    raise SystemExit(WINDOWS)

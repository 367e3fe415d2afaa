"""`openai-proxy reload PID`: for systemd's ExecReload=."""

from __future__ import annotations

from collections.abc import Sequence

from ..daemon.reload_command import reload
from .words import Parser


def parser() -> Parser:
    """Return the parser of this sub-command."""
    made = Parser(prog="openai-proxy reload", description="Reload a daemon, and fail if it refuses.")
    made.add_argument("pid", type=int, help="the daemon's process id")
    return made


def main(arguments: Sequence[str]) -> int:
    """Reload; return 0 once the daemon uses the new configuration, else 1."""
    return reload(parser().parse_args(arguments).pid)

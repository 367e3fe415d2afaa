"""`openai-proxy replay DIR [options]`: the daemon in the foreground, with recorded answers as its upstream."""

from __future__ import annotations

from collections.abc import Sequence

from ..net.standard_output import show
from . import run
from .grammar import Operand
from .words import USAGE, complain

OPERANDS = (Operand("DIR", "the directory of recorded exchanges"),)
_HELP = """\
Usage: openai-proxy replay DIR [options]

Answer with what `-o exchange-log:dir=DIR:raw=true` has recorded. The options
are those of `openai-proxy run`, which this is with --upstream replay:DIR."""


def parser() -> run.RunOptions:
    """Return the parser of this sub-command's options, which come after DIR."""
    return run.RunOptions()


def main(arguments: Sequence[str]) -> int:
    """Run until a signal ends it; return the exit status."""
    if arguments and arguments[0] in ("-h", "--help"):
        return show(_HELP)
    if not arguments or arguments[0].startswith("-"):
        return complain("replay takes a directory first: openai-proxy replay DIR [options]", USAGE)
    return run.main(["--upstream", f"replay:{arguments[0]}", *arguments[1:]])

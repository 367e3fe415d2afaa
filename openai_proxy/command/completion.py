"""`openai-proxy completion SHELL`: a script that completes the command in a shell; `man` is its man page."""

from __future__ import annotations

from collections.abc import Sequence

from ..net.standard_output import show
from .grammar import grammars
from .man_page import man_page
from .shells import bash_script, fish_script, zsh_script
from .words import Parser

MADE = {"bash": bash_script, "zsh": zsh_script, "fish": fish_script, "man": man_page}


def parser() -> Parser:
    """Return the parser of this sub-command."""
    made = Parser(
        prog="openai-proxy completion",
        description="Print a script that completes this command in a shell, or the man page.",
    )
    made.add_argument("form", choices=tuple(MADE), metavar="FORM", help="bash, zsh, fish or man")
    return made


def main(arguments: Sequence[str]) -> int:
    """Print it; return 0."""
    from . import COMMANDS

    return show(MADE[parser().parse_args(arguments).form](grammars(COMMANDS)).rstrip("\n"))

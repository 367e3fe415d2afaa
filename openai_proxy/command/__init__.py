"""The command `openai-proxy`, a file for each sub-command.

Each has `main(arguments) -> exit status`. This module only chooses among them;
only `__main__` imports this folder.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

from .. import __version__
from ..net.standard_output import show
from .words import USAGE, complain

COMMANDS = {
    "run": "run the proxy in the foreground; `run -- COMMAND` runs a program behind it",
    "demo": "try the proxy with a mock upstream: no key, no network",
    "check": "load and validate the configuration, and print it with secrets masked",
    "log": "look into an exchange log: one line for each exchange, or a whole conversation",
    "replay": "run with recorded answers in place of an upstream: `replay DIR`",
    "cassette": "look into recorded exchanges: `cassette check DIR`",
    "key": "make client keys; list and change those of a running proxy",
    "top": "show what runs in a proxy now, and cancel it",
    "cancel": "cancel exchanges that run: `cancel ID ...`",
    "usage": "show what a client key has used and has left, or what all have",
    "completion": "print a script that completes this command in a shell, or its man page",
    "reload": "for systemd: reload a daemon, and fail if it refuses the new configuration",
}
"""Each name is a module of this folder."""

_HELP = """\
Usage: openai-proxy [COMMAND] [options]

A transparent proxy for the OpenAI API. Without a command it runs in the
foreground, as `run` does.

Commands:
{commands}

`openai-proxy COMMAND --help` shows the options of each; --version prints the
version. Daemons are started with twistd: twistd openai-proxy --help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sub-command that the first word names; return the exit status."""
    words = sys.argv[1:] if argv is None else list(argv)
    name, rest = (words[0], words[1:]) if words else ("run", [])
    if name in ("-h", "--help", "help"):
        return show(_help())
    if name == "--version":
        return show(f"openai-proxy {__version__}")
    if name.startswith("-"):  # options without a command belong to `run`
        name, rest = "run", words
    if name not in COMMANDS:
        return complain(_unknown(name), USAGE)
    status: int = import_module(f"{__name__}.{name}").main(rest)
    return status


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:{width}}  {meaning}" for name, meaning in COMMANDS.items())
    return _HELP.format(commands=lines)


def _unknown(name: str) -> str:
    near = get_close_matches(name, COMMANDS, 1, cutoff=0.5)
    hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(COMMANDS)}"
    return f"unknown command {name[:40]!r}: {hint}"

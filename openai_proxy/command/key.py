"""`openai-proxy key new NAME`: a client key for somebody.

The entry for the configuration file, which holds only the key's hash, goes
to standard output, the key itself, once, to standard error: so
`openai-proxy key new alice >> openai-proxy.toml` never writes a key down.
"""

from __future__ import annotations

import io
import secrets
import sys
from collections.abc import Sequence

from ..settings.key_entry import key_entry
from .words import Parser

KEY_PREFIX = "sk-proxy-"
KEY_BYTES = 32


def new_key() -> str:
    """Return a fresh key of 256 random bits."""
    return KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)


def parser() -> Parser:
    """Return the parser of this sub-command."""
    made = Parser(prog="openai-proxy key", description="Client keys for the proxy.")
    verbs = made.add_subparsers(dest="verb", required=True, metavar="VERB")
    new = verbs.add_parser(
        "new",
        help="make a key: its [[keys]] entry goes to standard output, the key to standard error",
        description="Make a client key. Its [[keys]] entry for the configuration file, which holds only"
        " its hash, goes to standard output; the key itself, shown this once, to standard error.",
    )
    new.add_argument("name", help="the name of the key in logs, metrics and file names")
    return made


def main(arguments: Sequence[str]) -> int:
    """Make a key; return 0."""
    options = parser().parse_args(arguments)
    key = new_key()
    try:
        entry = key_entry(options.name, key)
    except ValueError as error:
        parser().error(str(error))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # as TOML is, whatever the terminal's locale
    print("The key, shown this once; give it to its user:", file=sys.stderr)
    print(key, file=sys.stderr, flush=True)
    if sys.stdout.isatty():
        print("Its entry for the configuration file (--config):", file=sys.stderr, flush=True)
    sys.stdout.write(f"\n{entry}")
    return 0

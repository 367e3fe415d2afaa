"""The console script `openai-proxy`: make a client key for somebody; reload a daemon for systemd.

`openai-proxy key new NAME` prints a new key, once, and the `[[keys]]` entry
for the configuration file, which holds its hash alone. `openai-proxy reload
PID` is in `reload_command`.
"""

from __future__ import annotations

import argparse
import io
import json
import secrets
import sys
from collections.abc import Sequence

from .daemon.reload_command import reload
from .wire.keys import key_digest

KEY_PREFIX = "sk-proxy-"
KEY_BYTES = 32


def new_key() -> str:
    """Return a fresh key of 256 random bits."""
    return KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)


def keys_entry(name: str, key: str) -> str:
    """Return the `[[keys]]` entry of `key` as TOML; ValueError for a name it cannot have."""
    if not name or len(name) > 100 or not name.isprintable():
        raise ValueError("a name has 1 to 100 characters, without control characters")
    # a JSON string without escapes beyond ASCII is a TOML string
    quoted = json.dumps(name, ensure_ascii=False)
    return f'[[keys]]\nname = {quoted}\nkey_sha256 = "{key_digest(key.encode()).hex()}"\n'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="openai-proxy", description="Tools around the proxy, which itself runs as: twistd openai-proxy"
    )
    nouns = parser.add_subparsers(dest="noun", required=True, metavar="COMMAND")
    key_parser = nouns.add_parser("key", help="client keys")
    verbs = key_parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    new_parser = verbs.add_parser("new", help="print a new client key and its configuration entry")
    new_parser.add_argument("name", help="the name of the key in logs, metrics and file names")
    reload_parser = nouns.add_parser("reload", help="for systemd: reload a daemon and fail if it refuses")
    reload_parser.add_argument("pid", type=int, help="the daemon's process id")
    options = parser.parse_args(argv)
    if options.noun == "reload":
        return reload(options.pid)
    key = new_key()
    try:
        entry = keys_entry(options.name, key)
    except ValueError as error:
        parser.error(str(error))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # as TOML is, whatever the terminal's locale
    sys.stdout.write(f"# The key, shown this once: give it to its user.\n{key}\n\n")
    sys.stdout.write(f"# Its entry for the configuration file (--config):\n{entry}")
    return 0

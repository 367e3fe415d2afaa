"""`openai-proxy usage`: print the usage and the remaining budget of a client key; with --all, of all."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from urllib.parse import urlencode

from ..net.standard_output import show
from .admin_client import AdminClient, Refused, check_secret
from .operator_options import add_address_options, at_proxy
from .usage_words import of_all, of_key
from .words import Parser

KEY_VARIABLE = "OPENAI_API_KEY"
BASE_VARIABLE = "OPENAI_BASE_URL"


def parser() -> Parser:
    """Return the parser of this sub-command."""
    made = Parser(
        prog="openai-proxy usage",
        description=f"Show what your client key has used and has left: the key in {KEY_VARIABLE}, at the proxy in"
        f" {BASE_VARIABLE}. With --all, show what all keys have used, as an operator may.",
    )
    made.add_argument(
        "--all", action="store_true", help="what all keys have used; needs the operator's rights"
    )
    made.add_argument("--days", metavar="N", help="your key's last days, 1 to 92 (default: 30)")
    made.add_argument(
        "--from", dest="since", metavar="DAY", help="with --all: from this day of UTC on, 2026-11-01"
    )
    made.add_argument("--to", dest="until", metavar="DAY", help="with --all: until this day of UTC")
    add_address_options(made)
    made.add_argument("--json", action="store_true", help="print JSON")
    return made


def main(arguments: Sequence[str]) -> int:
    """Print it; return 0, 3 if the proxy does not answer, 4 without permission."""
    made = parser()
    options = made.parse_args(arguments)
    if options.all and options.days:
        made.error("--days is for your own key; with --all: --from and --to")
    if not options.all and (options.since or options.until):
        made.error("--from and --to go with --all; for your own key: --days")
    if options.all:
        return at_proxy(made, options, lambda client: _show_all(client, options))
    key = os.environ.get(KEY_VARIABLE)
    if not key:
        made.error(f"set {KEY_VARIABLE} to your key for this proxy, or ask with --all")
    try:
        check_secret(key, KEY_VARIABLE)
    except ValueError as error:
        made.error(str(error))
    options.url = options.url or (None if options.socket else os.environ.get(BASE_VARIABLE))
    return at_proxy(
        made, options, lambda client: _show_own(AdminClient(client.url, client.socket_path, key), options)
    )


def _show_own(client: AdminClient, options: argparse.Namespace) -> int:
    query = f"?{urlencode({'days': options.days})}" if options.days else ""
    try:
        document = client.ask("GET", f"/key{query}")
    except Refused as refused:
        if refused.code != "unknown_url":
            raise
        raise Refused(
            "this proxy has no client keys of its own (or, an operator may ask with --all)"
        ) from None
    return show(json.dumps(document) if options.json else "\n".join(of_key(document)))


def _show_all(client: AdminClient, options: argparse.Namespace) -> int:
    wanted = {name: day for name, day in (("from", options.since), ("to", options.until)) if day}
    document = client.ask("GET", f"/admin/usage?{urlencode({'format': 'json', **wanted})}")
    return show(json.dumps(document) if options.json else "\n".join(of_all(document)))

"""`openai-proxy cancel ID...`: cancel running exchanges."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from urllib.parse import quote

from ..net.standard_output import show
from .admin_client import AdminClient, Refused
from .operator_options import add_address_options, at_proxy
from .terminal import printable
from .words import FAILED, Parser, complain

NOT_FOUND = "exchange_not_found"


def parser() -> Parser:
    """Return the parser of this sub-command."""
    made = Parser(
        prog="openai-proxy cancel",
        description="Cancel exchanges that run: their upstream calls end within a second. `openai-proxy top` lists them.",
    )
    made.add_argument("id", metavar="ID", nargs="+", help="the id of an exchange, as in the log")
    add_address_options(made)
    made.add_argument("--json", action="store_true", help="print JSON")
    return made


def main(arguments: Sequence[str]) -> int:
    """Cancel; return 0, 1 if one was not found, 3 if the proxy does not answer, 4 without permission."""
    made = parser()
    options = made.parse_args(arguments)
    return at_proxy(made, options, lambda client: _cancel(client, options))


def _cancel(client: AdminClient, options: argparse.Namespace) -> int:
    status = 0
    for id in options.id:
        try:
            answer = cancel(client, id)
        except Refused as refused:
            if refused.code != NOT_FOUND:
                raise
            status = complain(f"{printable(id)[:80]} does not run", FAILED)
            continue
        show(json.dumps(answer) if options.json else f"{printable(id)} is cancelled")
    return status


def cancel(client: AdminClient, id: str) -> object:
    """Cancel one; raise Refused with the code NOT_FOUND if it does not run."""
    return client.ask("DELETE", f"/admin/exchanges/{quote(id, safe='')}")

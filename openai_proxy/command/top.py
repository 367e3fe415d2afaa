"""`openai-proxy top`: show what runs in a proxy, on a full screen, as lines, or as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from ..net.standard_output import show
from .admin_client import AdminClient
from .exchanges import arranged, as_text, headline
from .operator_options import add_address_options, at_proxy
from .words import FAILED, Parser, complain

_SHOWN_ENDED = 20
"""The number of ended exchanges in the output of `--once`."""
_WITHOUT = (
    "the screen needs the extra [top]: pip install 'twisted-openai-proxy[top]'"
    " (--once and --json work without it)"
)


def parser() -> Parser:
    """Return the parser of this sub-command."""
    made = Parser(
        prog="openai-proxy top",
        description="Show what runs in a proxy and what has ended lately. Keys: up and down, c cancel, s sort, / filter,"
        " q quit. If the output is no terminal, it is that of --once.",
    )
    add_address_options(made)
    made.add_argument("--once", action="store_true", help="print it once, as lines, and end")
    made.add_argument(
        "--json", action="store_true", help="print it once, as the JSON of GET /admin/exchanges"
    )
    return made


def main(arguments: Sequence[str]) -> int:
    """Show it; return 0, 3 if the proxy does not answer, 4 without permission."""
    made = parser()
    options = made.parse_args(arguments)
    return at_proxy(made, options, lambda client: _show(client, options))


def _show(client: AdminClient, options: argparse.Namespace) -> int:
    if not (options.once or options.json) and _on_terminal():
        return _screen(client)
    document = client.ask("GET", "/admin/exchanges?limit=1000")
    if options.json:
        return show(json.dumps(document))
    rows = arranged(document["exchanges"], "age")
    running = [row for row in rows if row.get("state") != "ended"]
    ended = [row for row in rows if row.get("state") == "ended"][:_SHOWN_ENDED]
    return show("\n".join([headline({}, document["in_flight"]), "", *as_text([*running, *ended])]))


def _screen(client: AdminClient) -> int:
    client.ask("GET", "/admin/exchanges?limit=1")  # a failure is reported in a line, not on the screen
    try:
        from .top_screen import TopScreen
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith(("textual", "rich")):
            raise
        return complain(_WITHOUT, FAILED)
    TopScreen(client).run()
    return 0


def _on_terminal() -> bool:
    return all(each is not None and each.isatty() for each in (sys.stdin, sys.stdout, sys.stderr))

"""Options and exit statuses that the operator's commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from .admin_client import (
    DEFAULT_URL,
    TOKEN_VARIABLE,
    URL_VARIABLE,
    AdminClient,
    NotReachable,
    Refused,
    admin_client,
)
from .terminal import printable
from .words import FAILED, Parser, complain

NOT_REACHABLE = 3
NOT_ALLOWED = 4


def add_address_options(to: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """Add the options for the address of the proxy; return their group, of which only one may be given."""
    group = to.add_mutually_exclusive_group()
    group.add_argument(
        "--url",
        metavar="URL",
        help=f"the proxy (default: {URL_VARIABLE}, else {DEFAULT_URL}); its admin token is in {TOKEN_VARIABLE}",
    )
    group.add_argument("--socket", metavar="PATH", help="the Unix socket of its admin.port")
    return group


def at_proxy(parser: Parser, options: argparse.Namespace, act: Callable[[AdminClient], int]) -> int:
    """Run `act` with the proxy that the options name; return its exit status, or that of the failure."""
    try:
        return act(admin_client(options.url, options.socket))
    except ValueError as error:
        parser.error(str(error))
    except Refused as refused:
        return complain(printable(refused), NOT_ALLOWED if refused.is_not_allowed else FAILED)
    except (NotReachable, OSError) as error:
        return complain(printable(error), NOT_REACHABLE)

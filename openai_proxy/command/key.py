"""`openai-proxy key VERB`: manage client keys in the configuration, at a running proxy, or in its key store.

`key new NAME` without a proxy or a file makes an entry for the configuration
file, which contains only the key's hash: the entry goes to standard output, the
key itself, once, to standard error. So `openai-proxy key new alice >>
openai-proxy.toml` never writes a key into a file. With a proxy or a file, keys
are created and changed there, and a new key goes to standard output.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from ..daemon.key_store.key_file import KeyFile, KeyFileAway, KeyFileRefused
from ..net.standard_output import show
from ..settings.key_entry import key_entry
from ..settings.stored_keys.changes import new_secret
from .admin_client import URL_VARIABLE, NotReachable, Refused, admin_client
from .key_source import KeySource, RunningProxy
from .key_words import lines, members, seconds, table
from .operator_options import NOT_REACHABLE, add_address_options
from .terminal import printable
from .words import Parser, complain

_ONCE = "The key, shown this once; give it to its user:"


def parser() -> Parser:
    """Return the parser of this sub-command."""
    made = Parser(prog="openai-proxy key", description="Client keys for the proxy.")
    verbs = made.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, help: str, *, description: str | None = None, named: bool = True) -> Any:
        added = verbs.add_parser(name, help=help, description=description or help[0].upper() + help[1:] + ".")
        if named:
            added.add_argument("name", help="the name of the key in logs, metrics and file names")
        _add_source_options(added)
        return added

    new = verb(
        "new",
        "make a key: its [[keys]] entry goes to standard output, the key to standard error",
        description="Make a client key. Its [[keys]] entry for the configuration file, which holds only"
        " its hash, goes to standard output; the key itself, shown this once, to standard error."
        " With --url, --socket, --file or OPENAI_PROXY_URL it is made there, and the key goes to standard output.",
    )
    _add_members(new)
    verb("list", "list the keys", named=False).add_argument(
        "--group", metavar="NAME", help="only those of a group"
    )
    verb("show", "show one key")
    _add_members(verb("set", "change what a key may do; `none` removes a rule"))
    verb("block", "refuse a key's requests until it is unblocked")
    verb("unblock", "admit a blocked key again")
    rotate = verb("rotate", "give a key a new secret; budgets, limits and its name go on")
    rotate.add_argument(
        "--grace",
        metavar="TIME",
        default="0",
        help="how long the present secret continues to work: 90, 24h, 7d (default: 0)",
    )
    revoke = verb("revoke", "delete a key: its requests are refused at once")
    revoke.add_argument("--cut", action="store_true", help="also cut off its running exchanges")
    return made


def _add_source_options(to: argparse.ArgumentParser) -> None:
    add_address_options(to).add_argument(
        "--file", metavar="FILE", help="the file of its key_store.url, also while the proxy is stopped"
    )
    to.add_argument("--json", action="store_true", help="print JSON")


def _add_members(to: argparse.ArgumentParser) -> None:
    for option, metavar, help in (
        ("--models", "A,B", "the models it may use: names or globs"),
        ("--endpoints", "A,B", "the endpoints it may call"),
        ("--addresses", "A,B", "networks that it may be used from"),
        ("--budget", "USD/PERIOD", "what it may cost: 20/month, 0.5/day"),
        ("--expires", "TIME", "when it stops working: 2030-01-31"),
        ("--group", "NAME", "whose it is"),
        ("--note", "TEXT", "what to remember of it"),
        ("--requests-per-minute", "N", "its limit; `none` for none, `default` for everybody's"),
        ("--tokens-per-minute", "N", "its limit of model tokens"),
        ("--concurrent-requests", "N", "its limit of requests at once"),
    ):
        to.add_argument(option, metavar=metavar, help=help)


def main(arguments: Sequence[str]) -> int:
    """Run the verb; return 0, 1 if that is refused, 3 if the proxy does not answer."""
    options = parser().parse_args(arguments)
    prints_entry = options.verb == "new" and not (
        options.url or options.socket or options.file or os.environ.get(URL_VARIABLE)
    )
    try:
        if prints_entry:
            return _print_entry(options)
        return _at(options)
    except ValueError as error:
        parser().error(str(error))
    except (Refused, KeyFileRefused) as refused:
        return complain(printable(refused))
    except (NotReachable, KeyFileAway, OSError) as error:
        return complain(printable(error), NOT_REACHABLE)


def _print_entry(options: argparse.Namespace) -> int:
    if members(vars(options)) or options.json:
        raise ValueError("--models and the like need --url, --socket or --file: an entry is written by hand")
    key = new_secret()
    entry = key_entry(options.name, key)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # TOML is UTF-8, whatever the terminal's locale
    print(_ONCE, file=sys.stderr)
    print(key, file=sys.stderr, flush=True)
    if sys.stdout.isatty():
        print("Its entry for the configuration file (--config):", file=sys.stderr, flush=True)
    sys.stdout.write(f"\n{entry}")
    return 0


def _at(options: argparse.Namespace) -> int:
    act = _VERBS[options.verb]
    if options.file is None:
        return act(RunningProxy(admin_client(options.url, options.socket)), options)
    with closing(KeyFile(Path(options.file).expanduser(), makes_it=options.verb == "new")) as file:
        return act(file, options)


def _new(source: KeySource, options: argparse.Namespace) -> int:
    return _tell_secret(source.make({"name": options.name, **members(vars(options))}), options)


def _list(source: KeySource, options: argparse.Namespace) -> int:
    keys = source.listed(options.group)
    return show(json.dumps({"object": "list", "data": keys}) if options.json else table(keys))


def _show(source: KeySource, options: argparse.Namespace) -> int:
    return _tell(source.one(options.name), options)


def _set(source: KeySource, options: argparse.Namespace) -> int:
    document = members(vars(options))
    if not document:
        raise ValueError("there is nothing to set: give --models, --budget or another rule")
    return _tell(source.change(options.name, document), options)


def _block(source: KeySource, options: argparse.Namespace) -> int:
    return _tell(source.change(options.name, {"blocked": options.verb == "block"}), options)


def _rotate(source: KeySource, options: argparse.Namespace) -> int:
    return _tell_secret(source.rotate(options.name, seconds(options.grace)), options)


def _revoke(source: KeySource, options: argparse.Namespace) -> int:
    source.revoke(options.name, options.cut)
    return show(json.dumps({"name": options.name, "revoked": True})) if options.json else 0


_VERBS: dict[str, Callable[[KeySource, argparse.Namespace], int]] = {
    "new": _new,
    "list": _list,
    "show": _show,
    "set": _set,
    "block": _block,
    "unblock": _block,
    "rotate": _rotate,
    "revoke": _revoke,
}


def _tell(key: dict[str, Any], options: argparse.Namespace) -> int:
    return show(json.dumps(key) if options.json else lines(key))


def _tell_secret(key: dict[str, Any], options: argparse.Namespace) -> int:
    """Print a new secret as the only line on standard output, so that a script can read it."""
    if options.json:
        return show(json.dumps(key))
    print(_ONCE, file=sys.stderr, flush=True)
    return show(printable(key.get("key")))

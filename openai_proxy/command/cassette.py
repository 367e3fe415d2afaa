"""`openai-proxy cassette check DIR`: report which recorded exchanges of a directory can be replayed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..net.standard_output import show
from ..upstream.replay.files import lines_of_file, recorded_files
from ..upstream.replay.report import CassetteReport
from .words import FAILED, Parser, complain


def parser() -> Parser:
    """Return the parser of this sub-command."""
    made = Parser(prog="openai-proxy cassette", description="Look into recorded exchanges.")
    actions = made.add_subparsers(dest="action", required=True, metavar="check")
    check = actions.add_parser("check", help="count what can be replayed, and look for keys")
    check.add_argument("directory", metavar="DIR", help="where exchange-log:dir=DIR:raw=true has written")
    return made


def main(arguments: Sequence[str]) -> int:
    """Print the report; return 1 if nothing can be replayed or something looks like a key."""
    directory = Path(parser().parse_args(arguments).directory)
    if not directory.is_dir():
        return complain(f"{directory} is no directory")
    report, skipped = CassetteReport(), list[str]()
    try:
        for file in recorded_files(directory):
            for number, _, data in lines_of_file(file, skipped.append):
                report.take(data, f"{file.name}:{number}")
    except OSError as error:
        return complain(f"cannot read {error.filename}: {error.strerror}")
    show("\n".join([*report.lines(), *skipped]))
    return FAILED if report.with_keys or not report.replayable else 0

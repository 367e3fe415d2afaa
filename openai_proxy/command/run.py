"""`openai-proxy run [options]`: the daemon in the foreground.

twistd's machinery runs inside, with the options that a program in the
foreground wants: it stays there, has no pidfile and a plain log.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence

from twisted.application.service import ServiceMaker
from twisted.scripts.twistd import ServerOptions, runApp  # type: ignore[attr-defined]  # not in its __all__

from ..net.listening import StartError
from ..tap import Options
from .plain_log import PlainLog
from .words import FAILED, complain

_NAME = "openai-proxy"


class RunOptions(Options):
    """The options of the daemon; twistd's own have no place here."""

    program = "openai-proxy run"

    def getSynopsis(self) -> str:
        """Return the first line of the help."""
        return f"Usage: {self.program} [options]"

    def twistd_option(self, option: str) -> str:
        """Return what to say of an option of twistd."""
        return (
            f"{option} is an option of twistd, which {self.program} does without (it stays in the foreground)"
        )


class Foreground(ServerOptions):
    """twistd's own options, as `twistd -n --pidfile= openai-proxy` gives them."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self._options = options
        self.loadedPlugins = {_NAME: ServiceMaker(_NAME, "openai_proxy.tap", "", _NAME)}

    @property
    def subCommands(self) -> Iterator[tuple[str, None, Callable[[], Options], str]]:
        """Yield the one that there is."""
        yield _NAME, None, lambda: self._options, ""

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse the options of the daemon; a mistake in them is one line and exit 1."""
        super().parseOptions(["--nodaemon", "--pidfile=", _NAME, *(options or ())])
        self["logger"] = PlainLog


def run(options: Options, arguments: Sequence[str]) -> int:
    """Run the daemon until it is told to end; return the exit status."""
    stderr = sys.stderr  # twistd's machinery replaces it
    foreground = Foreground(options)
    foreground.parseOptions(arguments)
    try:
        runApp(foreground)
    except StartError as error:
        sys.stderr = stderr
        return complain(str(error), FAILED)
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run the proxy, or a program behind it."""
    return run(RunOptions(), arguments)

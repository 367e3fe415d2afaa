"""`openai-proxy run [options] [-- COMMAND]`: the daemon in the foreground, possibly with one program that uses it.

twistd's machinery runs inside, with the options of a program in the foreground:
it does not detach, has no pidfile, and writes a plain log.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twisted.application.service import ServiceMaker
from twisted.logger import LogLevel
from twisted.python import usage
from twisted.scripts.twistd import ServerOptions, runApp  # type: ignore[attr-defined]  # not in its __all__

from ..daemon.bill import Bill
from ..daemon.service import ProxyService
from ..net.listening import StartError
from ..settings import Settings
from ..tap import Options
from ..workers.supervisor import Supervisor
from .child import NOT_STARTED, Child
from .grammar import Operand
from .plain_log import PlainLog
from .words import FAILED, complain

_NAME = "openai-proxy"
_END = "--"
"""The separator before the command of a program that will use the proxy."""
OPERANDS = (Operand("[-- COMMAND ...]", "a program to run behind a proxy of its own"),)
EPHEMERAL = "tcp:0:interface=127.0.0.1"
MOST_CONNECTIONS = 1000
"""The number of connections for one user: few enough for any system's limit, so that no warning is logged."""


class RunOptions(Options):
    """The options of the daemon; twistd's own options are not accepted here."""

    program = "openai-proxy run"
    more_usage = " [-- COMMAND ...]"
    """The text after the options on the first line of the help."""

    def getSynopsis(self) -> str:
        """Return the first line of the help."""
        return f"Usage: {self.program} [options]{self.more_usage}"

    def parseArgs(self, *words: str) -> None:
        """Accept no arguments: those of a program come after `--`."""
        if words:
            hint = f"to run a program behind the proxy: openai-proxy run -- {words[0][:40]} ..."
            raise usage.UsageError(f"unexpected {words[0][:40]!r}; {hint}")

    def log(self) -> PlainLog:
        """Return the log."""
        return PlainLog()

    def twistd_option(self, option: str) -> str:
        """Return the message about an option of twistd."""
        return (
            f"{option} is an option of twistd, which {self.program} does without (it stays in the foreground)"
        )


class Foreground(ServerOptions):
    """twistd's own options, as `twistd -n --pidfile= openai-proxy` gives them."""

    def __init__(self, options: RunOptions) -> None:
        super().__init__()
        self._options = options
        self.loadedPlugins = {_NAME: ServiceMaker(_NAME, "openai_proxy.tap", "", _NAME)}

    @property
    def subCommands(self) -> Iterator[tuple[str, None, Callable[[], Options], str]]:
        """Yield the only plugin."""
        yield _NAME, None, lambda: self._options, ""

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse the options of the daemon; for a mistake in them, print one line and exit with 1."""
        super().parseOptions(["--nodaemon", "--pidfile=", _NAME, *(options or ())])
        self["logger"] = self._options.log


class QuietOptions(RunOptions):
    """The options of a proxy with one process, which logs only warnings unless a level is set."""

    def load(self) -> Settings:
        """Load the settings, and adapt them to one process of one user."""
        settings = super().load()
        level = settings.log_level if self.has_log_level else "warn"
        limits = settings.limits
        fewer = {"connections": min(limits.connections, MOST_CONNECTIONS)}
        return settings.model_copy(
            update={"workers": 1, "log_level": level, "limits": limits.model_copy(update=fewer)}
        )

    @property
    def has_log_level(self) -> bool:
        """Whether a log level was set."""
        return self["log-level"] is not None

    def log(self) -> PlainLog:
        return PlainLog(least=LogLevel.debug if self.has_log_level else LogLevel.warn)


class BehindOptions(QuietOptions):
    """The options of a proxy for one program: it has a port of its own, and prints only warnings."""

    def __init__(self, child: Child, bill: Bill) -> None:
        super().__init__()
        self._child = child
        self.watching = (bill,)

    def made(self, reactor: Any, service: ProxyService | Supervisor) -> None:
        """Start the program after the daemon."""
        assert isinstance(service, ProxyService)  # of one process, see `QuietOptions`
        self._child.follow(reactor, service)

    def load(self) -> Settings:
        """Load the settings, and adapt them to one program.

        Standard output belongs to the program, so no lines of exchanges are
        printed unless they are requested. The bill is kept in this process, so
        there are no workers. Ports are left to a daemon that may be running
        with the same configuration.
        """
        self.repeated["port"] = self.repeated["port"] or [EPHEMERAL]
        settings = super().load()
        asked_for = settings.observers if settings.origin("observers") else ()
        return settings.model_copy(
            update={
                "observers": ("none", *asked_for),
                "admin": settings.admin.model_copy(update={"port": None}),
            }
        )


def run(options: RunOptions, arguments: Sequence[str]) -> int:
    """Run the daemon until a signal ends it; return the exit status."""
    stderr = sys.stderr  # twistd's machinery replaces it
    foreground = Foreground(options)
    foreground.parseOptions(arguments)
    try:
        runApp(foreground)
    except StartError as error:
        sys.stderr = stderr
        return complain(str(error), FAILED)
    sys.stderr = stderr
    return 0


def behind(command: Sequence[str], arguments: Sequence[str]) -> int:
    """Run `command` with a proxy of its own; print the bill, and return its exit status."""
    child, bill = Child(command), Bill()
    status = run(BehindOptions(child, bill), arguments)
    if child.failure is not None:
        return complain(child.failure, NOT_STARTED)
    if child.status is None:
        return status or FAILED  # a signal came before the start
    return complain(bill.line(), child.status)


def parser() -> RunOptions:
    """Return the parser of this sub-command."""
    return RunOptions()


def main(arguments: Sequence[str]) -> int:
    """Run the proxy, or a program that uses it."""
    if _END in arguments:
        at = list(arguments).index(_END)
        command = arguments[at + 1 :]
        if not command:
            return complain(f"no command after {_END}: openai-proxy run -- python script.py")
        return behind(command, arguments[:at])
    return run(RunOptions(), arguments)

"""`twistd openai-proxy`: the command line and the service made from it.

The only place that imports the reactor. Everything except the listing of the
options is done by settings and service.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from attrs import frozen
from twisted.application.service import IService
from twisted.python import usage

from . import __version__
from .daemon.notes import full_notes
from .net.standard_output import show
from .net.steady_clock import use_steady_clock
from .settings import (
    Row,
    Settings,
    SettingsError,
    check_endpoints,
    describe,
    has_dotenv,
    load_settings,
    settings_reference,
)

if TYPE_CHECKING:
    from .daemon.service import ProxyService
    from .observe.interfaces import Observer
    from .workers.supervisor import Supervisor

_OF_TWISTD = {
    "-n": "--nodaemon",
    "-y": "--python",
    "-l": "--logfile",
    "-u": "--uid",
    "-g": "--gid",
    "-d": "--rundir",
    "-b": "--debug",
    "-r": "--reactor",
    "-e": "--encrypted",
    "-s": "--save",
}
_LONG_OF_TWISTD = (
    "pidfile",
    "logger",
    "chroot",
    "umask",
    "prefix",
    "syslog",
    "euid",
    "profile",
    "originalname",
)
"""Options of twistd itself, short and long, which come before the name of the plugin."""
_SHORT = {"port": "p", "observer": "o", "workers": "w"}
_REPEATED = {"port": "ENDPOINT", "observer": "SPEC"}
_VALUES = {
    "config": "FILE",
    "env-file": "FILE",
    "upstream": "URL",
    "workers": "N",
    "log-level": "LEVEL",
    "drain-timeout": "SECONDS",
}
_LEVELS = ("debug", "info", "warn", "error", "critical")
_ROWS = {row.option: row for row in settings_reference() if row.option}
_INTRO = """\
A transparent proxy for the OpenAI API. Every setting can be given on the
command line (if it has an option), in the environment, in a .env file or
in a TOML file; the first that has it wins. Secrets never come from the
command line."""


def _stop(line: str) -> NoReturn:
    print(f"openai-proxy: {line}", file=sys.stderr)
    raise SystemExit(1)


def _help(row: Row) -> str:
    return f"{row.meaning} [{', '.join(row.environment)}; default: {row.default}]"


@frozen
class OptionRow:
    """One option of a command, as its help shows it."""

    names: tuple[str, ...]
    """The names with their dashes, the short one first."""
    value: str | None
    """The name of its value; None if it has none."""
    meaning: str
    choices: tuple[str, ...] = ()
    """The allowed values; empty for any."""


def _row(name: str, value: str | None, meaning: str) -> OptionRow:
    short = _SHORT.get(name)
    names = (*([f"-{short}"] if short else []), f"--{name}")
    return OptionRow(names, value, meaning, _LEVELS if name == "log-level" else ())


def _option_of_twistd(options: Sequence[str]) -> str | None:
    """Return the first option that twistd has and the plugin has not; None if there is none."""
    for word in options:
        option = word.partition("=")[0]
        if option in _OF_TWISTD or option.lstrip("-") in _LONG_OF_TWISTD or option in _OF_TWISTD.values():
            return option
    return None


class Options(usage.Options):
    """The command line; values stay text until the settings validate them."""

    program = "twistd openai-proxy"
    """The command before these options."""
    only_changed = False
    """Whether `--check-config` leaves out default values."""
    environment: Mapping[str, str] = os.environ
    """The variables that settings may come from."""
    watching: Sequence[Observer] = ()
    """Observers of one process besides those that the settings name."""

    optParameters = [
        ["config", None, None, "TOML file [OPENAI_PROXY_CONFIG; default: none]"],
        ["env-file", None, None, "file of variables [no variable; default: .env if it exists]"],
        *(
            [name, _SHORT.get(name), None, _help(_ROWS[name])]
            for name in ("upstream", "workers", "log-level", "drain-timeout")
        ),
    ]
    optFlags = [
        ["check-config", None, "validate everything, print it with secrets masked and exit with 0 or 1"]
    ]

    def __init__(self) -> None:
        super().__init__()
        self.repeated: dict[str, list[str]] = {name: [] for name in _REPEATED}
        self.directory = Path.cwd()

    def opt_port(self, value: str) -> None:
        self.repeated["port"].append(value)

    opt_port.__doc__ = _help(_ROWS["port"])
    opt_p = opt_port

    def opt_observer(self, value: str) -> None:
        self.repeated["observer"].append(value)

    opt_observer.__doc__ = _help(_ROWS["observer"])
    opt_o = opt_observer

    def opt_help(self) -> NoReturn:
        """Print the help and exit."""
        show(str(self))
        raise SystemExit(0)

    def opt_version(self) -> NoReturn:
        """Print the version and exit."""
        print(f"openai-proxy {__version__}")
        raise SystemExit(0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse the command line; a mistake in it is one line and exit 1, not the whole usage."""
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            surplus = _option_of_twistd(options or ())
            _stop(self.twistd_option(surplus) if surplus else f"{error} (see {self.program} --help)")

    def twistd_option(self, option: str) -> str:
        """Return what to write instead, if an option of twistd comes after the plugin's name."""
        return (
            f"{option} is an option of twistd and stands before the plugin's name:"
            f" twistd {option} openai-proxy ..."
        )

    def postOptions(self) -> None:
        """Run `--check-config` here, before twistd complains about a daemon that is running in this directory."""
        if self["check-config"]:
            makeService(self)

    def made(self, reactor: Any, service: ProxyService | Supervisor) -> None:
        """Called once with the service, before anything is opened."""

    def load(self) -> Settings:
        """Load the settings, now or again. Raises SettingsError.

        A `.env` file that existed must still exist: a reload without it would
        remove the client keys, and so admit everybody.
        """
        if self["env-file"] is None and has_dotenv(self.directory):
            self["env-file"] = ".env"
        given: dict[str, Any] = {"config": self["config"], "env_file": self["env-file"]}
        for name, row in _ROWS.items():
            given[row.toml] = self.repeated.get(name) or self.get(name)
        return load_settings(given, self.environment, self.directory)

    def getUsage(self, width: int | None = None) -> str:
        """Return the help: each option, then every setting without one."""
        width = max(60, min(width or shutil.get_terminal_size().columns, 110))
        parts = ["", _INTRO, "", "Options:"]
        for row in self.rows():
            value = f"={row.value}" if row.value else ""
            parts += _entry(", ".join(row.names) + value, row.meaning, width)
        parts += ["", "Settings without an option (environment variable, TOML name, default):"]
        for setting in settings_reference():
            if setting.environment and not setting.option:
                names = ", ".join(setting.environment) + (" (or ..._FILE)" if setting.secret else "")
                text = f"{setting.meaning} [{setting.toml}; default: {setting.default}]"
                parts += _entry(names, text, width)
        tables = ", ".join(f"[[{row.toml}]]" for row in settings_reference() if not row.environment)
        parts += [
            "",
            *textwrap.wrap(f"Only in the TOML file: {tables}; see docs/reference/settings.md.", width),
            "",
        ]
        return "\n".join(parts)

    def rows(self) -> list[OptionRow]:
        """Return all options, for the help and everything else that is generated from them."""
        found = [_row(name, value, _help(_ROWS[name])) for name, value in _REPEATED.items()]
        found += [_row(str(name), _VALUES[str(name)], str(text)) for name, _, _, text in self.optParameters]
        found += [_row(str(name), None, str(text)) for name, _, text in self.optFlags]
        found.append(_row("version", None, "print the version and exit"))
        return [*found, _row("help", None, "print this and exit")]

    def getSynopsis(self) -> str:
        """Return the first line of the help."""
        return "Usage: twistd [twistd's options] openai-proxy [options]"


def _entry(names: str, text: str, width: int) -> list[str]:
    wrapped = textwrap.wrap(
        text, width, initial_indent=" " * 6, subsequent_indent=" " * 6, break_on_hyphens=False
    )
    return [f"  {names}", *wrapped]


def _service(
    reactor: Any, settings: Settings, load: Callable[[], Settings], watching: Sequence[Observer]
) -> ProxyService | Supervisor:
    """Return the daemon, or the supervisor if there are several workers."""
    if settings.workers > 1:
        from .workers.supervisor import Supervisor

        return Supervisor(reactor, settings, load)
    from .daemon.service import ProxyService

    return ProxyService(reactor, settings, load, watching=watching)


def makeService(options: Options) -> IService:
    """Return the daemon's service; open nothing, because twistd has not forked yet.

    A configuration that cannot work is one line on stderr and exit 1.
    With `--check-config` the settings are printed and this exits with 0.
    """
    from twisted.internet import reactor

    use_steady_clock(reactor)

    def load() -> Settings:
        settings = options.load()
        check_endpoints(reactor, settings)
        return settings

    try:
        settings = load()
        service = _service(reactor, settings, load, options.watching)
    except SettingsError as error:
        _stop(str(error))
    if options["check-config"]:
        show(
            "\n".join(
                [
                    describe(settings, service.warnings, only_changed=options.only_changed),
                    *(f"# {line}" for line in full_notes(settings)),
                ]
            )
        )
        raise SystemExit(0)
    options.made(reactor, service)
    daemon: IService = service  # by zope's declarations, which mypy does not see on a union
    return daemon

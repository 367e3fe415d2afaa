"""`openai-proxy check [options]`: the same as `--check-config` of twistd's command."""

from __future__ import annotations

from collections.abc import Sequence

from .run import RunOptions


class CheckOptions(RunOptions):
    """The options of `run`, which are validated and printed without running the daemon."""

    program = "openai-proxy check"
    more_usage = ""
    optFlags = [["only-changed", None, "print only the settings that differ from their defaults"]]

    def postOptions(self) -> None:
        """Check, print and exit."""
        self["check-config"] = 1
        self.only_changed = bool(self["only-changed"])
        super().postOptions()


def parser() -> CheckOptions:
    """Return the parser of this sub-command."""
    return CheckOptions()


def main(arguments: Sequence[str]) -> int:
    """Print the configuration; return 0, or 1 with one line on stderr if it cannot work."""
    CheckOptions().parseOptions(arguments)
    return 0

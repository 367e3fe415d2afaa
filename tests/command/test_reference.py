"""docs/reference/command.md names what there is."""

import re
from pathlib import Path

from openai_proxy.command import COMMANDS
from openai_proxy.command.log import parser

TEXT = (Path(__file__).parents[2] / "docs" / "reference" / "command.md").read_text(encoding="utf-8")


def test_every_command_is_in_the_reference():
    """A new one is documented, one that is gone is not."""
    assert set(re.findall(r"^\| `openai-proxy (\w+)", TEXT, re.M)) | {"run"} == set(COMMANDS)


def test_every_option_of_log_is_in_the_reference():
    """A table that is complete."""
    options = {
        each for action in parser()._actions for each in action.option_strings if each.startswith("--")
    }
    rows = "\n".join(re.findall(r"^\| `--.*$", TEXT, re.M))
    assert set(re.findall(r"`(--\w+)", rows)) == options - {"--help"}

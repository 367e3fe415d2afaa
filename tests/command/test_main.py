"""`openai-proxy` chooses a sub-command."""

from importlib import import_module

import pytest

from openai_proxy import __version__
from openai_proxy.command import COMMANDS, main


def test_version(capsys):
    """`--version` is the package's."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"openai-proxy {__version__}\n"


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help_names_every_command(word, capsys):
    """Nothing that can be called is left out."""
    assert main([word]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_file(name):
    """Each name of the table can be called."""
    assert callable(import_module(f"openai_proxy.command.{name}").main)


@pytest.mark.parametrize(
    ("word", "hint"),
    [("rnu", "did you mean `run`?"), ("kye", "did you mean `key`?"), ("xyzzy", "known are run")],
)
def test_unknown_command_is_one_line_with_the_nearest(word, hint, capsys):
    """A slip of the finger is named, with exit 2."""
    assert main([word]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"openai-proxy: unknown command '{word}': {hint}")
    assert error.count("\n") == 1

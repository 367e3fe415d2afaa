"""What completes the command in shells, and its man page, are made of the command's own parsers."""

import shutil
import subprocess
from pathlib import Path

import pytest

from openai_proxy.command import COMMANDS, main
from openai_proxy.command.completion import MADE
from openai_proxy.command.grammar import grammars

ROOT = Path(__file__).parents[2]
GRAMMARS = grammars(COMMANDS)
MAN_PAGE = ROOT / "deploy" / "share" / "man" / "man1" / "openai-proxy.1"
SHELLS = [name for name in ("bash", "zsh", "fish") if shutil.which(name)]

ASK_BASH = """\
source /dev/stdin
compopt() { :; }  # only there while a terminal completes
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_openai_proxy
echo "${COMPREPLY[@]}"
"""


def completed_by_bash(*words):
    asked = ["bash", "-c", ASK_BASH, "bash", "openai-proxy", *words]
    script = MADE["bash"](GRAMMARS)
    done = subprocess.run(asked, input=script, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["re"], ["replay", "reload"]),
        (["--ver"], ["--version"]),
        (["log", "--s"], ["--since", "--status"]),
        (["run", "--log-level", "d"], ["debug"]),
        (["--log-level", "w"], ["warn"]),
        (["cassette", "c"], ["check"]),
        (["cassette", "check", "--h"], ["--help"]),
        (["check", "--on"], ["--only-changed"]),
        (["completion", "f"], ["fish"]),
        (["log", "--key", "r"], []),
        (["log", "--dir", ""], []),
        (["replay", ""], []),
        (["run", "--port", "tcp:0", "--", "compg"], ["compgen"]),
    ],
)
def test_bash_completes(words, found):
    """Commands, verbs, options and their values; if a file's name is wanted, bash has its own way."""
    assert completed_by_bash(*words) == found


@pytest.mark.parametrize("form", MADE)
def test_nothing_is_left_out(form):
    """Each command, verb and option is in each of them."""
    text = MADE[form](GRAMMARS).replace("\\-", "-")
    for grammar in (each for top in GRAMMARS for each in top.and_verbs):
        assert grammar.words[-1] in text
        for option in grammar.options:
            long = option.names[-1]
            written = f"-l {long[2:]} " if form == "fish" else long
            assert written in text or (form, long) == ("man", "--help")


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_can_read_its_script(shell, tmp_path):
    """It is whole."""
    script = tmp_path / "script"
    script.write_text(MADE[shell](GRAMMARS))
    done = subprocess.run([shell, "-n", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_man_page_in_the_repository_is_the_newest():
    """If this fails: .venv/bin/openai-proxy completion man > deploy/share/man/man1/openai-proxy.1"""
    assert MAN_PAGE.read_text(encoding="utf-8") == MADE["man"](GRAMMARS)


def test_the_command_prints_them(capsys):
    """Another shell's name is one line that says what there is."""
    assert main(["completion", "fish"]) == 0
    assert capsys.readouterr().out == MADE["fish"](GRAMMARS)
    with pytest.raises(SystemExit) as stopped:
        main(["completion", "tcsh"])
    assert stopped.value.code == 2
    assert "bash" in capsys.readouterr().err

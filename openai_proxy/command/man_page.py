"""The man page of the command, openai-proxy(1), in the macros of man(7). Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ..tap import OptionRow
from .grammar import Grammar, Operand

_HEAD = """\
.\\" Made by: openai-proxy completion man
.TH OPENAI-PROXY 1 "" "openai-proxy" "User Commands"
.SH NAME
openai-proxy \\- a transparent proxy for the OpenAI API
.SH SYNOPSIS
.B openai-proxy
.RI [ COMMAND ]
.RI [ options ]
.SH DESCRIPTION
Programs that use the OpenAI API reach it through this proxy by changing their base URL.
Without a command it runs in the foreground, as
.B openai-proxy run
does.
Daemons are started with
.BR "twistd openai-proxy" ,
which takes the same options.
.PP
Every setting can be given on the command line (if it has an option), in the environment, in a .env file or in a TOML file;
the first that has it wins.
.B openai-proxy --help
lists the commands,
.B openai-proxy run --help
every setting with its variable and its default.
.SH COMMANDS
"""
_TAIL = """\
.SH ENVIRONMENT
.TP
.B OPENAI_API_KEY
The key that is put in towards the upstream.
.TP
.B OPENAI_API_BASE
The base URL of the upstream.
.TP
.B OPENAI_PROXY_CONFIG
The TOML file.
.PP
Every other setting has a variable too: its name in the TOML file in upper case, with two underscores between levels.
.SH FILES
.TP
.I .env
Variables; read from the working directory if it is there.
.SH SIGNALS
SIGINT and SIGTERM drain, a second one aborts; SIGHUP reloads the configuration; SIGUSR1 opens log files anew.
.SH EXIT STATUS
0; 1 if something failed; 2 if the command line itself is wrong.
.B openai-proxy run -- COMMAND
ends with the status of the program.
.SH SEE ALSO
.BR twistd (1)
"""


def man_page(grammars: Sequence[Grammar]) -> str:
    """Return the page; options that several commands share are described once, with the first."""
    parts = [_HEAD]
    described: dict[tuple[OptionRow, ...], str] = {}
    for grammar in grammars:
        for each in grammar.and_verbs:
            if not each.verbs:
                parts += _command(each, described)
    return "".join((*parts, _TAIL))


def _command(grammar: Grammar, described: dict[tuple[OptionRow, ...], str]) -> list[str]:
    name = " ".join(grammar.words)
    options = tuple(each for each in grammar.options if "--help" not in each.names)
    operands = "".join(f" {operand.name}" for operand in grammar.operands)
    parts = [f".SS {_roff(name)}{_roff(operands)}\n", f"{_sentence(grammar.meaning)}\n"]
    parts += [f".TP\n.I {_roff(each.name)}\n{_sentence(each.meaning)}\n" for each in _worth_telling(grammar)]
    if options in described and len(options) > 3:
        parts.append(
            f".PP\nThe options are those of\n.BR {_roff(f'openai-proxy {described[options]}', quoted=True)} .\n"
        )
        return parts
    described.setdefault(options, name)
    for option in options:
        value = f" \\fI{_roff(option.value)}\\fR" if option.value else ""
        names = ", ".join(f"\\fB{_roff(each)}\\fR" for each in option.names)
        parts.append(f".TP\n{names}{value}\n{_roff(option.meaning)}\n")
    return parts


def _worth_telling(grammar: Grammar) -> Sequence[Operand]:
    return [each for each in grammar.operands if each.meaning]


def _sentence(text: str) -> str:
    text = _roff(text[:1].upper() + text[1:])
    return text if text.endswith(".") else f"{text}."


def _roff(text: str, *, quoted: bool = False) -> str:
    """Escape text for roff, so that its backslashes, dashes and leading dots are literal."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga")
    if text[:1] in (".", "'"):
        text = f"\\&{text}"
    return f'"{text}"' if quoted else text

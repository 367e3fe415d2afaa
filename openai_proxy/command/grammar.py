"""The arguments of each sub-command, read from its own parser: for shell completion and the man page."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from importlib import import_module

from attrs import field, frozen

from ..tap import OptionRow, Options

FILES = frozenset({"FILE", "DIR", "PATH"})
"""Names of values that are names of files."""


@frozen
class Operand:
    """A positional argument."""

    name: str
    meaning: str
    choices: tuple[str, ...] = ()


@frozen
class Grammar:
    """One sub-command, or a verb of it."""

    words: tuple[str, ...]
    """The words to type: `("key", "new")`."""
    meaning: str
    options: tuple[OptionRow, ...] = ()
    operands: tuple[Operand, ...] = ()
    verbs: tuple[Grammar, ...] = field(factory=tuple)

    @property
    def and_verbs(self) -> Iterator[Grammar]:
        """Yield this one and each of its verbs."""
        yield self
        for verb in self.verbs:
            yield from verb.and_verbs


def grammars(commands: Mapping[str, str]) -> list[Grammar]:
    """Return the grammar of each sub-command in a table of names and meanings."""
    return [_grammar(name, meaning) for name, meaning in commands.items()]


def _grammar(name: str, meaning: str) -> Grammar:
    module = import_module(f"{__package__}.{name}")
    parser = module.parser()
    if isinstance(parser, Options):
        operands: tuple[Operand, ...] = getattr(module, "OPERANDS", ())
        return Grammar((name,), meaning, tuple(parser.rows()), operands)
    return _of_argparse((name,), meaning, parser)


def _of_argparse(words: tuple[str, ...], meaning: str, parser: argparse.ArgumentParser) -> Grammar:
    options, operands, verbs = [], [], []
    for action in parser._actions:
        text = (action.help or "").replace("%%", "%")
        if isinstance(action, argparse._SubParsersAction):
            meanings = {each.dest: each.help or "" for each in action._choices_actions}
            verbs = [
                _of_argparse((*words, verb), meanings[verb], each) for verb, each in action.choices.items()
            ]
            continue
        choices = tuple(map(str, action.choices or ()))
        metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
        if action.option_strings:
            names = tuple(sorted(action.option_strings, key=len))
            options.append(OptionRow(names, None if action.nargs == 0 else metavar, text, choices))
        else:
            operands.append(Operand(metavar, text, choices))
    return Grammar(words, meaning, tuple(options), tuple(operands), tuple(verbs))

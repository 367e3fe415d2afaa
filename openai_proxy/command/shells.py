"""Scripts that complete the command in bash, zsh and fish. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence

from ..tap import OptionRow
from .grammar import FILES, Grammar, Operand

_OF_MAIN = ("--help", "--version")
_BARE = "run"
"""Options without a command belong to this one."""

_notes = re.compile(r" \[[^][]*default: [^][]*\]\Z")


def _flat(grammars: Iterable[Grammar]) -> list[Grammar]:
    return [each for grammar in grammars for each in grammar.and_verbs]


def _names(grammar: Grammar) -> list[str]:
    return [name for option in grammar.options for name in option.names]


def _next_words(grammar: Grammar) -> list[str]:
    choices = [choice for operand in grammar.operands for choice in operand.choices]
    return [*(verb.words[-1] for verb in grammar.verbs), *choices]


def _wants_files(grammar: Grammar) -> bool:
    return any(operand.name in FILES for operand in grammar.operands)


def _short(meaning: str) -> str:
    """Return the beginning of a meaning, without the variables and the default that follow it."""
    return _notes.sub("", meaning)


# ---- bash

_BASH = """\
# bash completion for openai-proxy, made by: openai-proxy completion bash

_openai_proxy() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} where= at_command=1 word words=
    COMPREPLY=()
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        if [ "$word" = -- ]; then  # a program to run behind the proxy
            COMPREPLY=($(compgen -c -- "$current"))
            return
        fi
        case "$at_command$where $word" in
            {steps}) where="$where $word" ;;
            *) at_command= ;;
        esac
    done
    case "$where $previous" in
        {files}) return ;;  # files, as bash itself completes them
{choices}
        {values})
            compopt +o default 2>/dev/null
            return ;;
    esac
    case "$where" in
{words}
    esac
    case "$where/$current" in
        */-*) ;;
        {operands}) return ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _openai_proxy openai-proxy
"""


def bash_script(grammars: Sequence[Grammar]) -> str:
    """Return the script for bash to source."""
    flat = _flat(grammars)
    main = next(each for each in grammars if each.words == (_BARE,))
    options = [(_typed(each), option) for each in flat for option in each.options]
    options += [("", option) for option in main.options]
    choices = [
        f"        {_patterns([(where, option)])})\n"
        f'            COMPREPLY=($(compgen -W "{" ".join(option.choices)}" -- "$current"))\n'
        f"            return ;;"
        for where, option in options
        if option.choices
    ]
    words = [("", [*(each.words[0] for each in grammars), *_OF_MAIN, *_names(main)])]
    words += [(_typed(each), [*_next_words(each), *_names(each)]) for each in flat]
    return _BASH.format(
        steps="|".join(shlex.quote(f"1{_typed(each)}") for each in flat),
        files=_patterns([each for each in options if each[1].value in FILES]),
        choices="\n".join(choices),
        values=_patterns(
            [(w, o) for w, o in options if o.value is not None and o.value not in FILES and not o.choices]
        ),
        operands="|".join(f"{shlex.quote(_typed(each))}/*" for each in flat if _wants_files(each)),
        words="\n".join(
            f'        {shlex.quote(where)}) words="{" ".join(dict.fromkeys(each))}" ;;'
            for where, each in words
        ),
    )


def _typed(grammar: Grammar) -> str:
    """Return the words of a command as they are in `$where`: each after a space."""
    return "".join(f" {word}" for word in grammar.words)


def _patterns(options: Sequence[tuple[str, OptionRow]]) -> str:
    return "|".join(shlex.quote(f"{where} {name}") for where, option in options for name in option.names)


# ---- zsh

_ZSH = """\
#compdef openai-proxy
# zsh completion for openai-proxy, made by: openai-proxy completion zsh

_openai_proxy() {{
    local -a commands
    commands=(
{commands}
    )
    if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then
        _describe command commands
        return
    fi
    local where=
    while (( CURRENT > 2 )); do
        case "$where $words[2]" in
            {steps}) where="$where $words[2]"; shift words; (( CURRENT-- )) ;;
            *) break ;;
        esac
    done
    case "$where" in
{cases}
    esac
}}

if [[ $funcstack[1] = _openai_proxy ]]; then
    _openai_proxy "$@"  # loaded from a directory of $fpath
else
    compdef _openai_proxy openai-proxy
fi
"""


def zsh_script(grammars: Sequence[Grammar]) -> str:
    """Return the script for zsh to load as `_openai-proxy`, or to source."""
    flat = _flat(grammars)
    main = next(each for each in grammars if each.words == (_BARE,))
    cases = [_zsh_case("''", main)] + [_zsh_case(shlex.quote(_typed(each)), each) for each in flat]
    return _ZSH.format(
        commands="\n".join(f"        {_described(each)}" for each in grammars),
        steps="|".join(shlex.quote(_typed(each)) for each in flat),
        cases="\n".join(cases),
    )


def _described(grammar: Grammar) -> str:
    return shlex.quote(f"{grammar.words[-1]}:{_short(grammar.meaning)}")


def _zsh_case(pattern: str, grammar: Grammar) -> str:
    specs = [spec for option in grammar.options for spec in _zsh_specs(option)]
    specs += [f"*:{operand.name}:{_zsh_values(operand)}" for operand in grammar.operands]
    if grammar.words == (_BARE,):
        specs[-1] = "*:program:{_normal}"
    if grammar.verbs:
        specs.append("1:verb:((" + " ".join(_zsh_verb(verb) for verb in grammar.verbs) + "))")
    lines = " \\\n".join(f"                {shlex.quote(spec)}" for spec in specs)
    return f"        {pattern})\n            _arguments \\\n{lines} ;;"


def _zsh_verb(verb: Grammar) -> str:
    meaning = _short(verb.meaning).replace("\\", "").replace('"', "").replace(":", "\\:")
    return f'{verb.words[-1]}\\:"{meaning}"'


def _zsh_specs(option: OptionRow) -> list[str]:
    meaning = _short(option.meaning).replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
    value = f":{option.value}:{_zsh_values(option)}" if option.value else ""
    return [
        f"*{name}{'=' if value and name.startswith('--') else ''}[{meaning}]{value}" for name in option.names
    ]


def _zsh_values(taken: OptionRow | Operand) -> str:
    name = taken.value if isinstance(taken, OptionRow) else taken.name
    if taken.choices:
        return f"({' '.join(taken.choices)})"
    return "_files" if name in FILES else " "


# ---- fish

_FISH = """\
# fish completion for openai-proxy, made by: openai-proxy completion fish

function __openai_proxy_at
    set -l where
    for word in (commandline -opc)[2..]
        if contains -- "$where $word" {steps}
            set where "$where $word"
        else
            break
        end
    end
    test "$where" = "$argv[1]"
end

complete -c openai-proxy -f
"""


def fish_script(grammars: Sequence[Grammar]) -> str:
    """Return the script for fish to source."""
    flat = _flat(grammars)
    main = next(each for each in grammars if each.words == (_BARE,))
    lines = [_fish("", f"-a {each.words[0]}", _short(each.meaning)) for each in grammars]
    lines += [_fish_option("", option) for option in main.options]
    for grammar in flat:
        where = _typed(grammar)
        lines += [_fish(where, f"-a {verb.words[-1]}", _short(verb.meaning)) for verb in grammar.verbs]
        lines += [_fish_option(where, option) for option in grammar.options]
        for operand in grammar.operands:
            if operand.choices:
                lines.append(_fish(where, f"-a {_fish_quoted(' '.join(operand.choices))}", operand.meaning))
        if _wants_files(grammar):
            lines.append(f"complete -c openai-proxy -n {_fish_condition(where)} -F")
    steps = " ".join(_fish_quoted(_typed(each)) for each in flat)
    return _FISH.format(steps=steps) + "\n".join(lines) + "\n"


def _fish_condition(where: str) -> str:
    return _fish_quoted(f"__openai_proxy_at '{where}'")


def _fish(where: str, what: str, meaning: str) -> str:
    return f"complete -c openai-proxy -n {_fish_condition(where)} {what} -d {_fish_quoted(meaning)}"


def _fish_option(where: str, option: OptionRow) -> str:
    names = [
        f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in reversed(option.names)
    ]
    if option.choices:
        names.append(f"-x -a {_fish_quoted(' '.join(option.choices))}")
    elif option.value is not None:
        names.append("-r -F" if option.value in FILES else "-x")
    return _fish(where, " ".join(names), _short(option.meaning))


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

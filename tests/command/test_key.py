"""`openai-proxy key new NAME`."""

import io
import re
import sys

import pytest

from openai_proxy.command.key import main
from openai_proxy.settings.key_entry import key_entry
from openai_proxy.wire.keys import key_digest


def test_a_new_key_comes_with_its_entry(capsys):
    """Only the entry goes to stdout, ready for a file; it knows the key of stderr by its hash."""
    assert main(["new", "alice"]) == 0
    shown = capsys.readouterr()
    key = re.search(r"^(sk-\S{40,})$", shown.err, re.M)[1]
    assert shown.out == f'\n[[keys]]\nname = "alice"\nkey_sha256 = "{key_digest(key.encode()).hex()}"\n'


def test_two_keys_differ(capsys):
    """Each run makes a key of its own."""
    main(["new", "a"])
    main(["new", "a"])
    assert len(set(re.findall(r"^sk-\S+$", capsys.readouterr().err, re.M))) == 2


def test_entry_is_utf8_in_any_locale(monkeypatch):
    """TOML is; a terminal of another encoding got a key, a traceback and no entry."""
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert main(["new", "Zoë"]) == 0
    sys.stdout.flush()
    assert 'name = "Zoë"' in written.getvalue().decode("utf-8")


def test_names_are_quoted():
    """A name with quotes stays one TOML string."""
    assert 'name = "a \\"b\\" ü"' in key_entry('a "b" ü', "k")


@pytest.mark.parametrize("arguments", [[], ["new"], ["new", ""], ["new", "a\nb"], ["nwe", "a"]])
def test_wrong_usage_is_one_line_and_exit_2(arguments, capsys):
    """A mistake is explained, and no key is printed."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("openai-proxy: ")
    assert shown.err.count("\n") == 1
    assert "sk-" not in shown.err

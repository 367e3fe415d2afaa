"""`openai-proxy key new NAME`."""

import io
import re
import sys

import pytest

from openai_proxy.command import keys_entry, main
from openai_proxy.wire.keys import key_digest


def test_a_new_key_comes_with_its_entry(capsys):
    """The printed entry knows the printed key by its hash, and holds no key."""
    assert main(["key", "new", "alice"]) == 0
    out = capsys.readouterr().out
    key = re.search(r"^(sk-\S{40,})$", out, re.M)[1]
    entry = out[out.index("[[keys]]") :]
    assert 'name = "alice"' in entry
    assert f'key_sha256 = "{key_digest(key.encode()).hex()}"' in entry
    assert key not in entry


def test_two_keys_differ(capsys):
    """Each run makes a key of its own."""
    main(["key", "new", "a"])
    main(["key", "new", "a"])
    assert len(set(re.findall(r"^sk-\S+$", capsys.readouterr().out, re.M))) == 2


def test_entry_is_utf8_in_any_locale(monkeypatch):
    """TOML is; a terminal of another encoding got a key, a traceback and no entry."""
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert main(["key", "new", "Zoë"]) == 0
    sys.stdout.flush()
    assert 'name = "Zoë"' in written.getvalue().decode("utf-8")


def test_names_are_quoted():
    """A name with quotes stays one TOML string."""
    assert 'name = "a \\"b\\" ü"' in keys_entry('a "b" ü', "k")


@pytest.mark.parametrize(
    "arguments", [[], ["key"], ["key", "new"], ["key", "new", ""], ["key", "new", "a\nb"]]
)
def test_wrong_usage_exits_2(arguments, capsys):
    """A mistake is explained, and no key is printed."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "sk-" not in capsys.readouterr().out

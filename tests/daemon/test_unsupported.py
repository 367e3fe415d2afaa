"""Windows gets one line that helps, instead of a plugin that does not load."""

import builtins
import runpy
from pathlib import Path

import pytest

import openai_proxy

PLUGINS = Path(openai_proxy.__file__).parent.parent / "twisted" / "plugins"


def test_windows_is_told_what_to_use(monkeypatch, capsys):
    """Also though `fcntl`, `termios` and `resource` cannot be imported there."""
    stock = builtins.__import__

    def importing(name, *args):
        if name in ("fcntl", "termios", "resource"):
            raise ImportError(name)
        return stock(name, *args)

    (plugin,) = PLUGINS.glob("*.py")
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr("builtins.__import__", importing)
    maker = runpy.run_path(str(plugin))["openai_proxy"]
    with pytest.raises(SystemExit) as stopped:
        maker.options().parseOptions(["--port", "tcp:8080"])
    assert stopped.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "Windows" in line
    assert "WSL" in line
    assert "Docker" in line


def test_elsewhere_the_command_is_the_proxy():
    """Linux, macOS, the BSDs."""
    (plugin,) = PLUGINS.glob("*.py")
    assert runpy.run_path(str(plugin))["openai_proxy"].module == "openai_proxy.tap"

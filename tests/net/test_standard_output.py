"""What the commands print reaches whoever reads it, as far as they read."""

import io
import os
import subprocess
import sys

import pytest

from openai_proxy.net.standard_output import show


def test_what_the_encoding_does_not_have_is_escaped(monkeypatch):
    """A terminal of another century shows the rest."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert show("café €") == 0
    assert raw.getvalue() == b"caf\\xe9 \\u20ac\n"


@pytest.mark.parametrize("text", ["x", "x" * 200_000])
def test_a_reader_that_has_left_is_no_mistake(text):
    """`openai-proxy --help | head -1` ends quietly, with 0."""
    reading, writing = os.pipe()
    os.close(reading)
    code = f"from openai_proxy.net.standard_output import show; raise SystemExit(show({text[0]!r} * {len(text)}))"
    done = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")

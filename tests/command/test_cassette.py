"""`openai-proxy cassette check`, and how `replay` reports mistakes."""

import gzip
import json

import pytest

from openai_proxy.command import main


def line(content="hi", model="gpt-4o", **changes):
    return {
        "timestamp": "2026-01-01",
        "request": {
            "method": "POST",
            "path": "/v1/chat/completions",
            "headers": {},
            "body": {"model": model},
        },
        "response": {"status_code": 200, "headers": {}, "body": {"content": content}},
        "outcome": "complete",
        "endpoint": "chat/completions",
        "model": model,
        **changes,
    }


def check(directory, capsys, *lines):
    text = "".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in lines)
    (directory / "a.jsonl").write_text(text)
    status = main(["cassette", "check", str(directory)])
    return status, capsys.readouterr().out.splitlines()


def test_what_can_be_replayed_is_counted(tmp_path, capsys):
    """By endpoint and model; and what cannot, with the reason."""
    lines = [line(), line(), line(model="o3"), line(outcome="client_gone"), "no line", "[]"]
    assert check(tmp_path, capsys, *lines) == (
        0,
        [
            "3 answers can be replayed",
            "       2  chat/completions  gpt-4o",
            "       1  chat/completions  o3",
            "3 cannot",
            "       2  it is no line of an exchange log",
            "       1  its exchange was not complete",
        ],
    )


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ("my key is sk-0123456789abcdef", 1),
        ("Authorization: Bearer abcdef0123456789", 1),
        ("the basic idea, a bearer of news", 0),
    ],
)
def test_what_looks_like_a_key_is_an_error(tmp_path, capsys, content, status):
    """Its position is printed, and not the value."""
    found, report = check(tmp_path, capsys, line(), line(content))
    assert found == status
    assert ("1 hold what looks like a key: a.jsonl:2" in report) is bool(status)
    assert "0123456789" not in "".join(report)


def test_an_empty_directory_is_an_error(tmp_path, capsys):
    """Nothing can be replayed."""
    assert main(["cassette", "check", str(tmp_path)]) == 1
    assert capsys.readouterr().out == "0 answers can be replayed\n"
    assert main(["cassette", "check", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err.endswith("none is no directory\n")


@pytest.mark.parametrize("arguments", [["replay"], ["replay", "--port", "tcp:0"]])
def test_replay_wants_a_directory(capsys, arguments):
    """In one line; its help says more."""
    assert main(arguments) == 2
    assert "takes a directory first" in capsys.readouterr().err
    assert main(["replay", "--help"]) == 0


def test_compressed_files_are_looked_into(tmp_path, capsys):
    """A torn one as far as it goes."""
    whole = gzip.compress(f"{json.dumps(line())}\n{json.dumps(line('sk-0123456789abcdef'))}\n".encode())
    (tmp_path / "a.jsonl.gz").write_bytes(whole)
    (tmp_path / "b.jsonl.gz").write_bytes(whole[:20])
    assert main(["cassette", "check", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert out.startswith("2 answers can be replayed\n")
    assert "1 hold what looks like a key: a.jsonl.gz:2\n" in out
    assert out.endswith("b.jsonl.gz is torn: what follows is not replayed\n")

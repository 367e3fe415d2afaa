"""`openai-proxy log`: filters, files, torn lines."""

import gzip
import json

import pytest

from openai_proxy.command.log import main
from openai_proxy.command.log_files import LogDirectory


def record(number, **fields):
    """Return a line of the log, the n-th second of a day."""
    made = {
        "timestamp": f"2026-11-30T08:00:{number:02d}.000Z",
        "request": {"method": "POST", "path": "/v1/chat/completions", "body": {"messages": []}},
        "response": {"status_code": 200, "body": None},
        "id": f"proxy-{number}",
        "key": "alice",
        "model": "gpt-4o",
        "outcome": "complete",
        "duration_s": 0.25,
        "usage": {"input_tokens": 3, "output_tokens": 4},
        "cost_usd": 0.001,
    }
    return json.dumps({**made, **fields}).encode() + b"\n"


@pytest.fixture
def logs(tmp_path):
    """Three files of two days, one of them compressed, with what crashes leave behind."""
    (tmp_path / "alice_gpt-4o_20261130.jsonl").write_bytes(
        record(1) + b"not json\n" + record(3) + record(9)[:50]
    )
    answer = {"status_code": 502, "body": {"error": {"message": "Gone \x1b[2J"}}}
    second = record(
        2, key=None, model="o3", response=answer, usage=None, cost_usd=None, outcome="upstream_error"
    )
    (tmp_path / "o3_20261130.jsonl").write_bytes(second)
    old = record(4, timestamp="2026-11-29T08:00:00.000Z", model="a\x1b[31mb")
    (tmp_path / "x_20261129.jsonl.gz").write_bytes(gzip.compress(old))
    (tmp_path / "notes.txt").write_text("no log")
    (tmp_path / "admin_20261130.jsonl").write_bytes(b'{"who": "token"}\n')
    return tmp_path


def log(capfd, directory, *arguments):
    """Return status, lines of stdout and stderr."""
    status = main(["--dir", str(directory), *arguments])
    out, error = capfd.readouterr()
    return status, out.splitlines(), error


def ids(lines):
    return [next(word for word in line.split() if word.startswith("proxy-")) for line in lines]


SKIPPED = "openai-proxy: skipped 2 lines that cannot be read (torn or broken)\n"


def test_one_line_an_exchange_in_order(logs, capfd):
    """Over all files, by time; what strangers wrote is one word without control characters."""
    status, lines, error = log(capfd, logs)
    assert (status, error) == (0, SKIPPED)
    chat = "/v1/chat/completions"
    assert lines == [
        f"2026-11-29T08:00:00.000Z 200 alice a\\x1b[31mb 3/4 $0.001000 0.250s {chat} proxy-4",
        f"2026-11-30T08:00:01.000Z 200 alice gpt-4o 3/4 $0.001000 0.250s {chat} proxy-1",
        f"2026-11-30T08:00:02.000Z 502 - o3 - - 0.250s {chat} proxy-2 upstream_error",
        f"2026-11-30T08:00:03.000Z 200 alice gpt-4o 3/4 $0.001000 0.250s {chat} proxy-3",
    ]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--key", "alice", "--since", "2026-11-30"], ["proxy-1", "proxy-3"]),
        (["--model", "o*"], ["proxy-2"]),
        (["--model", "gpt-4o"], ["proxy-1", "proxy-3"]),
        (["--status", "502"], ["proxy-2"]),
        (["--status", "4xx,5xx"], ["proxy-2"]),
        (["--status", "2xx", "--since", "2026-11-30T08:00:02"], ["proxy-3"]),
        (["--since", "2026-11-30T09:00:02+01:00"], ["proxy-2", "proxy-3"]),
        (["--since", "36500d"], ["proxy-4", "proxy-1", "proxy-2", "proxy-3"]),
        (["--grep", "gone"], ["proxy-2"]),
        (["--grep", "no such"], []),
    ],
)
def test_filters(logs, capfd, arguments, found):
    """Each by itself, and all of them together."""
    assert ids(log(capfd, logs, *arguments)[1]) == found


def test_id_shows_the_conversation(logs, capfd):
    """Whole, and nothing in it is a command to the terminal."""
    status, lines, _ = log(capfd, logs, "--id", "proxy-2")
    assert status == 0
    assert lines[-2:] == ["[error]", "Gone \\x1b[2J"]


def test_an_id_that_is_not_there_fails(logs, capfd):
    """A script notices."""
    status, lines, error = log(capfd, logs, "--id", "proxy-77")
    assert (status, lines) == (1, [])
    assert error.endswith(f"openai-proxy: no exchange proxy-77 in {logs}\n")


def test_json_is_the_line_as_it_stands(logs, capfd):
    """For jq."""
    main(["--dir", str(logs), "--json", "--model", "gpt-4o"])
    assert capfd.readouterr().out.encode() == record(1) + record(3)


def test_a_last_line_without_its_end_counts_if_it_is_whole(tmp_path, capfd):
    """The daemon may be just about to write the line end."""
    (tmp_path / "m_20261130.jsonl").write_bytes(record(1).rstrip())
    status, lines, error = log(capfd, tmp_path)
    assert (status, ids(lines), error) == (0, ["proxy-1"], "")


def test_a_damaged_archive_is_counted(tmp_path, capfd):
    """What can be read of it is."""
    (tmp_path / "m_20261130.jsonl.gz").write_bytes(gzip.compress(record(1) * 2)[:-9])
    _, _, error = log(capfd, tmp_path)
    assert error == "openai-proxy: skipped 1 line that cannot be read (torn or broken)\n"


def test_no_directory_is_one_line(tmp_path, capfd):
    """No traceback for a wrong path."""
    assert log(capfd, tmp_path / "none") == (
        1,
        [],
        f"openai-proxy: {tmp_path / 'none'}: No such file or directory\n",
    )


@pytest.mark.parametrize(
    "arguments", [["--since", "x"], ["--status", "abc"], ["--grep", "("], ["--nosuch"], ["word"]]
)
def test_wrong_usage_is_one_line_and_exit_2(arguments, capsys):
    """With what would be right."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_rotated_files_are_read_in_their_order(tmp_path, capfd):
    """As logrotate leaves them."""
    (tmp_path / "m_20261130.jsonl").write_bytes(record(3))
    (tmp_path / "m_20261130.jsonl.1").write_bytes(record(2))
    (tmp_path / "m_20261130.jsonl.2.gz").write_bytes(gzip.compress(record(1)))
    (tmp_path / "m_20261130.jsonl-20261130.gz").write_bytes(gzip.compress(record(0)))
    (tmp_path / "m_20261130.jsonl.bak").write_bytes(record(4))
    assert ids(log(capfd, tmp_path)[1]) == ["proxy-0", "proxy-1", "proxy-2", "proxy-3"]


def test_what_is_rotated_or_compressed_meanwhile_is_not_shown_again(tmp_path):
    """A follower sees each line once, whatever becomes of its file."""
    file = tmp_path / "m_20261130.jsonl"
    file.write_bytes(record(1))
    directory = LogDirectory(tmp_path)

    def news():
        return [
            line.record["id"]
            for files in directory.by_day()
            for each in files
            for line in each.lines(last=False)
        ]

    assert news() == ["proxy-1"]
    file.rename(tmp_path / "m_20261130.jsonl.1")
    file.write_bytes(record(2))
    assert news() == ["proxy-2"]
    with (tmp_path / "m_20261130.jsonl.1").open("ab") as late:
        late.write(record(3))
    assert news() == ["proxy-3"]
    (tmp_path / "m_20261130.jsonl.1").unlink()
    (tmp_path / "m_20261130.jsonl.1.gz").write_bytes(gzip.compress(record(1) + record(3)))
    assert news() == []

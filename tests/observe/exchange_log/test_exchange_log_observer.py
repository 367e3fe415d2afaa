"""Whole exchanges in files, on disk before the client sees the end."""

import json
import os
import shutil

import fakes
import pytest
from observe.exchange_log.descriptors import open_files
from twisted.internet.task import Clock
from twisted.logger import Logger

from openai_proxy.exchange.outcome import Outcome
from openai_proxy.exchange.usage import Usage
from openai_proxy.observe.exchange_log.capture import Capture
from openai_proxy.observe.exchange_log.files import LogDirectory, file_name, sanitised
from openai_proxy.observe.exchange_log.observer import TOGETHER_BYTES, ExchangeLog
from openai_proxy.observe.exchange_log.options import build
from openai_proxy.observe.interfaces import ObserverContext, ObserverOptions
from openai_proxy.observe.lines.append_file import LinesLost
from openai_proxy.observe.publisher import ExchangePublisher
from openai_proxy.observe.spec import parse_spec

KEYS = [
    "timestamp",
    "request",
    "response",
    "id",
    "key",
    "model",
    "outcome",
    "duration_s",
    "first_byte_s",
    "usage",
    "cost_usd",
    "attempts",
    "cached",
]


def exchange(model="gpt-4o-mini", key=None, body=b'{"answer":1}', **fields):
    made = fakes.exchange(started=1.0, timestamp=1700000000.0, path="/v1/chat/completions", model=model)
    made.key = key
    made.status = 200
    made.attempts = 1
    made.usage = Usage(5, 7)
    made.request_headers = [(b"Authorization", b"Bearer sk-canary-1"), (b"Content-Type", b"application/json")]
    made.request_body = b'{"model":"gpt-4o-mini","messages":[]}'
    made.response_headers = [(b"Content-Type", b"application/json"), (b"Set-Cookie", b"s=canary-in-cookie")]
    made.capture = Capture(10_000)
    made.capture.response_filter(made.response_headers).feed(body)
    for name, value in fields.items():
        setattr(made, name, value)
    made.end(Outcome.COMPLETE, 2.0)
    return made


def captured(body):
    """Return what keeps all of a JSON answer."""
    capture = Capture(10_000_000)
    capture.response_filter([(b"Content-Type", b"application/json")]).feed(body)
    return capture


def observer(directory, **options):
    made = ExchangeLog(LogDirectory(str(directory)), 10_000, **options)
    made.start()
    return made


def write(log, *exchanges):
    """Log a batch."""
    for each in exchanges:
        log({"exchange": each})
    log.flush()


def lines(directory):
    return [
        json.loads(line) for path in sorted(directory.iterdir()) for line in path.read_text().splitlines()
    ]


def test_line_has_the_keys_in_order(tmp_path):
    """The line is what the documentation shows."""
    made = exchange(body=b'{"echo":"sk-canary-1"}')
    log = observer(tmp_path)
    write(log, made)
    (entry,) = lines(tmp_path)
    assert list(entry)[: len(KEYS)] == KEYS
    assert entry["request"] == {
        "method": "POST",
        "path": "/v1/chat/completions",
        "headers": {"Authorization": "[redacted]", "Content-Type": "application/json"},
        "body": {"model": "gpt-4o-mini", "messages": []},
    }
    assert entry["response"] == {
        "status_code": 200,
        "headers": {"Content-Type": "application/json", "Set-Cookie": "[redacted]"},
        "body": {"echo": "[redacted]"},
        "streaming": False,
    }
    assert "canary" not in (tmp_path / "gpt-4o-mini_20231114.jsonl").read_text()
    log.stop()


def test_an_exchange_without_a_model_says_none(tmp_path):
    """A refused request whose model was never read has a line that says so as its file's name does."""
    log = observer(tmp_path)
    write(log, exchange(model=None))
    (entry,) = lines(tmp_path)
    assert (entry["model"], os.listdir(tmp_path)) == ("none", ["none_20231114.jsonl"])
    log.stop()


class Writes:
    """A store that remembers what it was given at once; it is full if `error` is set."""

    directory = "/writes"
    error = None

    def __init__(self):
        self.given = []

    def append(self, name, lines):
        self.given.append((name, lines.count(b"\n"), len(lines)))
        if self.error is not None:
            raise self.error


def test_a_batch_is_written_at_once(tmp_path):
    """A file's lines together, in order; nothing is left over."""
    log, store = observer(tmp_path), Writes()
    write(log, exchange("a", body=b"{}"), exchange("b"), exchange("a", body=b"[]"))
    log.flush()
    assert sorted(os.listdir(tmp_path)) == ["a_20231114.jsonl", "b_20231114.jsonl"]
    assert [line["response"]["body"] for line in lines(tmp_path)] == [{}, [], {"answer": 1}]
    log.stop()
    log = ExchangeLog(store, 10_000)
    write(log, exchange("a"), exchange("b"), exchange("a"))
    assert [given[:2] for given in store.given] == [("a_20231114.jsonl", 2), ("b_20231114.jsonl", 1)]


def test_a_batch_of_long_lines_is_not_kept_for_long():
    """What waits for the end of a batch is bounded, and so is what is written at once."""
    store = Writes()
    log = ExchangeLog(store, 10_000_000)
    body = b'"%s"' % (b"x" * 100_000)
    for _ in range(5):
        log({"exchange": exchange(body=body, capture=captured(body))})
    assert [count for _, count, _ in store.given] == [2, 2]
    assert all(size <= TOGETHER_BYTES for _, _, size in store.given)
    log.flush()
    assert [count for _, count, _ in store.given] == [2, 2, 1]


def test_a_disk_that_fills_up_in_a_batch_is_counted_to_the_line():
    """The lines that are in the file are not lost."""
    store = Writes()
    log = ExchangeLog(store, 10_000, log=Logger("test", observer=lambda event: None))
    store.error = LinesLost(OSError(28, "No space left on device"), 1)
    write(log, exchange(), exchange(), exchange())
    assert log.failures.lost_lines == 1
    store.error = OSError(28, "No space left on device")
    write(log, exchange(), exchange())
    assert log.failures.lost_lines == 3


def test_line_is_on_disk_when_ending_returns(tmp_path):
    """What a client saw the end of is never lost."""
    publisher = ExchangePublisher([observer(tmp_path)], Clock())
    publisher.ending(exchange())
    assert len(lines(tmp_path)) == 1
    publisher.stop()


@pytest.mark.parametrize(
    ("key", "model", "expected"),
    [
        (None, "gpt-4o-mini", "gpt-4o-mini_20231114.jsonl"),
        ("alice", "gpt-4o-mini", "alice_gpt-4o-mini_20231114.jsonl"),
        ("key-0a1b2c3d", None, "key-0a1b2c3d_none_20231114.jsonl"),
        (None, "org/model:free", "org_model_free_20231114.jsonl"),
        (None, "../../x", "_x_20231114.jsonl"),
        (None, "sk-canary-0001", "_redacted__20231114.jsonl"),
    ],
)
def test_file_name(key, model, expected):
    """Files are found by client, model and day."""
    assert file_name(exchange(model, key)) == expected


@pytest.mark.parametrize(
    "model", ["../../x", "..", ".", "/", "a/../b", "\0", "é" * 300, "a" * 5000, "\ud800", "\n"]
)
def test_any_model_stays_in_the_directory(tmp_path, model):
    """A stranger's model name never leaves the directory, nor fails."""
    directory = tmp_path / "logs"
    log = observer(directory)
    write(log, exchange(model))
    log.stop()
    assert os.listdir(tmp_path) == ["logs"]
    assert len(os.listdir(directory)) == 1
    assert log.failures.lost_lines == 0


def test_no_name_reads_as_an_option_or_hides():
    """`rm *.jsonl` of a careless script does not take a model called -rf for an option."""
    assert [sanitised(name) for name in ("-rf", "..x", "-.-", ".")] == ["rf", "_x", "_", "_"]


def test_no_name_looks_like_a_way_out():
    """Whoever reads the directory listing need not wonder about `..` in it."""
    assert ".." not in sanitised("../../x") + sanitised("a..b") + sanitised("a...")


def test_long_names_stay_apart():
    """Two long model names do not share a file."""
    assert sanitised("a" * 500) != sanitised("a" * 501)


def test_open_files_are_bounded(tmp_path):
    """A thousand models do not use up the file descriptors."""
    directory = LogDirectory(str(tmp_path), max_open=3)
    for n in range(20):
        directory.append(f"{n % 7}.jsonl", b"{}\n")
    assert len(open_files(tmp_path)) == 3
    directory.stop()
    assert sum(path.read_text().count("{}\n") for path in tmp_path.iterdir()) == 20


def test_torn_lines_are_healed_at_start(tmp_path):
    """After a crash every line can be parsed."""
    (tmp_path / "m_20231113.jsonl").write_text('{"a":1}\n{"b"')
    observer(tmp_path).stop()
    assert lines(tmp_path) == [{"a": 1}]


def test_failing_disk_is_reported_once_and_counted(tmp_path):
    """A disk that cannot be written costs lines, not requests."""
    events = []
    directory = tmp_path / "logs"
    log = observer(directory, log=Logger("test", observer=events.append))
    directory.rmdir()
    directory.write_text("in the way")
    for _ in range(3):
        write(log, exchange())
    assert (len(events), log.failures.lost_lines) == (1, 3)


def test_a_directory_that_somebody_deletes_is_made_anew(tmp_path):
    """`rm -r logs` costs the lines in it, not those of every later exchange."""
    clock = Clock()
    directory = LogDirectory(str(tmp_path / "logs"), clock=clock.seconds)
    directory.start()
    for name in ("a.jsonl", "b.jsonl"):
        directory.append(name, b"1\n")
    shutil.rmtree(tmp_path / "logs")
    directory.append("new.jsonl", b"2\n")
    clock.advance(1)
    for name in ("a.jsonl", "b.jsonl", "new.jsonl"):
        directory.append(name, b"3\n")
    directory.stop()
    found = {path.name: path.read_text() for path in (tmp_path / "logs").iterdir()}
    assert found == {"a.jsonl": "3\n", "b.jsonl": "3\n", "new.jsonl": "2\n3\n"}


def test_reopen_follows_a_moved_file(tmp_path):
    """logrotate may move the files away."""
    log = observer(tmp_path)
    write(log, exchange())
    name = file_name(exchange())
    (tmp_path / name).rename(tmp_path / "old")
    log.reopen()
    write(log, exchange())
    log.stop()
    assert sorted(os.listdir(tmp_path)) == sorted([name, "old"])


def test_choices(tmp_path):
    """Models, keys and a sample choose what is kept."""
    log = observer(tmp_path, models=frozenset(["a"]), keys=frozenset(["k"]))
    for model, key in [("a", "k"), ("a", "x"), ("b", "k"), ("a", None)]:
        write(log, exchange(model, key))
    log.stop()
    assert os.listdir(tmp_path) == ["k_a_20231114.jsonl"]
    without = observer(tmp_path / "without", models=frozenset(["none"]))
    without({"exchange": exchange(None)})
    without({"exchange": exchange("a")})
    without.stop()
    assert os.listdir(tmp_path / "without") == ["none_20231114.jsonl"]
    none = observer(tmp_path / "none", sample=0.0)
    half = observer(tmp_path / "half", sample=0.5)
    for _ in range(200):
        none({"exchange": exchange()})
        half({"exchange": exchange()})
    half.stop()
    assert lines(tmp_path / "none") == []
    assert 50 < len(lines(tmp_path / "half")) < 150


def test_without_bodies(tmp_path):
    """`bodies=false` keeps prompts out."""
    log = observer(tmp_path, bodies=False)
    assert log.needs_bodies is False
    write(log, exchange(capture=None))
    log.stop()
    (entry,) = lines(tmp_path)
    assert (entry["request"]["body"], entry["response"]["body"]) == (None, None)


def test_streamed_upload_is_size_and_digest(tmp_path):
    """A file that was streamed up is known by its digest."""
    made = exchange(request_body=None)
    made.capture.request.feed(b"x" * 20_000)
    log = observer(tmp_path)
    write(log, made)
    log.stop()
    assert lines(tmp_path)[0]["request"]["body"]["bytes"] == 20_000


def options(text):
    return ObserverOptions(parse_spec(text), ObserverContext(Clock(), body_limit_bytes=77))


def test_spec_is_understood(tmp_path):
    """Every parameter of the spec has its effect, and building creates nothing."""
    log = build(options(f"exchange-log:dir={tmp_path}/a/b:bodies=false:sample=0.1:models=a,b:keys=k"))
    assert (log.needs_bodies, log.needs_usage, log.synchronous, log.body_limit_bytes) == (
        False,
        True,
        True,
        77,
    )
    assert list(tmp_path.iterdir()) == []
    log.start()
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize(
    "text",
    [
        "exchange-log",
        "exchange-log:/tmp",
        "exchange-log:dir=",
        "exchange-log:dir=/proc/nope/logs",
        "exchange-log:dir=/dev/null/x",
        "exchange-log:dir=/tmp:sample=2",
        "exchange-log:dir=/tmp:sample=nan",
        "exchange-log:dir=/tmp:bodies=maybe",
        "exchange-log:dir=/tmp:models=,",
        "exchange-log:dir=/tmp:nonsense=1",
    ],
)
def test_bad_spec_is_refused(text):
    """What cannot work stops the start."""
    with pytest.raises(ValueError):
        build(options(text))


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "m", "a": [1, {"b": "\xc3\xa9\\n\\"\\\\"}], "big": 123456789012345678901234567890}',
        b'{\r\n  "model": "m"\n}',
        b'{"user":"sk\\u002dcanary-12345","b":"sk-canary\\u002d12345"}',
        b'{"user":"sk-canary-12345"}',
        b'{"path":"canary\\/secret-12345"}',
        b'{"a":' + b"[" * 150 + b"]" * 150 + b"}",
        b'{"a":' + b"[1]," * 300 + b"}",
    ],
    ids=["plain", "lines", "hidden secret", "secret", "hidden slash", "deep", "no JSON"],
)
def test_a_request_is_logged_as_what_it_says(tmp_path, body):
    """Copied or decoded: one line, the same object, and no secret however it is written."""
    is_json = b"[1]," not in body
    log = observer(tmp_path, secrets=["sk-canary-12345", "canary/secret-12345"])
    write(log, exchange(request_body=body, request_is_ordinary=is_json))
    (line,) = (tmp_path / "gpt-4o-mini_20231114.jsonl").read_bytes().splitlines()
    shown = json.loads(line)["request"]["body"]
    assert b"canary-12345" not in line
    assert b"secret-12345" not in line
    wanted = json.loads(body) if is_json else None
    if wanted is None:
        assert set(shown) == {"bytes", "sha256", "base64"}
    elif b"canary" in body:
        assert set(shown.values()) == {"[redacted]"}
    else:
        assert shown == wanted


def test_a_copied_request_survives_a_line_that_orjson_refuses(tmp_path):
    """Another part of the line may need the standard library's encoder."""
    log = observer(tmp_path)
    write(log, exchange(request_body=b'{"a": 1}', request_is_ordinary=True, body=b'{"b":"\\ud800"}'))
    (line,) = (tmp_path / "gpt-4o-mini_20231114.jsonl").read_bytes().splitlines()
    assert json.loads(line)["request"]["body"] == {"a": 1}
    assert json.loads(line)["response"]["body"] == {"b": "\ud800"}

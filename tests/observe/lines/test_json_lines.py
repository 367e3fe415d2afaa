"""The JSON lines of the exchanges in a file."""

import errno
import json

from twisted.internet.task import Clock
from twisted.logger import Logger, formatEvent

from openai_proxy.exchange.outcome import Outcome
from openai_proxy.exchange.record import Exchange
from openai_proxy.observe.lines.append_file import LOOK_EVERY_S, AppendFile
from openai_proxy.observe.lines.json_lines import JSONFileObserver, json_text


def event():
    exchange = Exchange(started=1.0, timestamp=1700000000.0, method="GET", path="/v1/models")
    exchange.request_headers = [(b"Authorization", b"Bearer sk-canary")]
    exchange.request_body = b'{"canary":1}'
    exchange.end(Outcome.COMPLETE, 2.0)
    return {"exchange": exchange}


def test_lines_are_metadata_only(tmp_path):
    """The file holds what happened, and neither a header nor a body."""
    path = tmp_path / "meta.jsonl"
    observer = JSONFileObserver(str(path))
    observer.start()
    observer(event())
    observer(event())
    observer.flush()
    observer.stop()
    lines = path.read_text().splitlines()
    assert [json.loads(line)["outcome"] for line in lines] == ["complete", "complete"]
    assert "canary" not in path.read_text()


def test_full_disk_is_reported_once_and_counted(tmp_path):
    """A full disk costs lines, is said once, and ends when there is room again."""
    events, full = [], [True]

    def write(fd, data):
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return len(data)

    path = str(tmp_path / "x")
    observer = JSONFileObserver(path, Logger("test", observer=events.append), AppendFile(path, write))
    for _ in range(3):
        observer(event())
        observer.flush()
    assert (len(events), observer.failures.lost_lines) == (1, 3)
    assert "No space left" in formatEvent(events[0])
    full[0] = False
    observer(event())
    observer.flush()
    observer.stop()
    assert len(events) == 2


def test_file_that_can_not_be_opened_anew_goes_on(tmp_path):
    """SIGUSR1 after the directory was moved: the old file goes on, and one line says so, not a traceback."""
    events = []
    (tmp_path / "a").mkdir()
    observer = JSONFileObserver(str(tmp_path / "a" / "x"), Logger("test", observer=events.append))
    observer.start()
    (tmp_path / "a").rename(tmp_path / "b")
    observer.reopen()
    assert [event.get("log_failure") for event in events] == [None]
    assert "the old file stays in use: No such file or directory" in formatEvent(events[0])
    observer(event())
    observer.stop()
    assert (tmp_path / "b" / "x").read_text().count("\n") == 1


def test_file_that_was_deleted_is_made_anew(tmp_path):
    """The exchange log did that already; here every line went into a file without a name until SIGUSR1."""
    clock, path = Clock(), tmp_path / "x"
    observer = JSONFileObserver(str(path), clock=clock.seconds)
    observer.start()
    path.unlink()
    observer(event())
    observer.flush()
    assert not path.exists()  # not asked for each line
    clock.advance(LOOK_EVERY_S)
    observer(event())
    observer.stop()
    assert path.read_text().count("\n") == 1


def test_text_for_standard_output_is_one_object():
    """`json:-` writes the same object."""
    assert json.loads(json_text(event()))["path"] == "/v1/models"

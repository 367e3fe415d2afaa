"""Lines on standard output never stop a request."""

import os
import threading

import pytest
from twisted.logger import Logger, formatEvent

from openai_proxy.observe.lines.console import LineObserver
from openai_proxy.observe.lines.stdout import StandardOutput


def line(event):
    return event["line"]


def observer(fd, events=None):
    log = Logger("test", observer=(events if events is not None else []).append)
    made = LineObserver(line, StandardOutput(fd), log)
    made.start()
    return made


def emit(made, *lines):
    for each in lines:
        made({"line": each})
    made.flush()


@pytest.fixture
def pipe():
    ends = list(os.pipe())
    yield ends
    for fd in ends:
        if fd >= 0:
            os.close(fd)


def test_batch_is_written(pipe):
    """A batch arrives line by line, in order, whatever its characters."""
    emit(observer(pipe[1]), "one é", "two \ud800")
    assert os.read(pipe[0], 100) == "one é\ntwo \\ud800\n".encode()


def test_file_gets_the_batch(tmp_path):
    """Standard output may be a file."""
    fd = os.open(tmp_path / "out", os.O_CREAT | os.O_WRONLY)
    emit(observer(fd), "one", "two")
    os.close(fd)
    assert (tmp_path / "out").read_text() == "one\ntwo\n"


def test_reader_that_does_not_read_costs_lines_only(pipe):
    """A full pipe never blocks the daemon; what was dropped is reported when it is read again."""
    events = []
    made = observer(pipe[1], events)
    for _ in range(100):
        emit(made, "x" * 1000, "y" * 2999)
    assert events == []
    while len(os.read(pipe[0], 65536)) == 65536:
        pass
    emit(made, "again")
    assert os.read(pipe[0], 100) == b"again\n"
    assert "lines were not written" in formatEvent(events[0])


def test_long_line_never_blocks_either(pipe):
    """A line longer than what is free is cut, and the next one stands on its own."""
    made = observer(pipe[1])
    emit(made, *["x" * 4095] * 15)
    writing = threading.Thread(target=emit, args=(made, "y" * 20_000), daemon=True)
    writing.start()
    writing.join(10)
    assert not writing.is_alive()
    assert os.read(pipe[0], 1 << 20).endswith(b"x\n" + b"y" * 4096)
    emit(made, "again")
    assert os.read(pipe[0], 100) == b"\nagain\n"


def test_reader_that_left_costs_lines_only(pipe):
    """A closed pipe is no error of any request, and what nobody read is in openai_proxy_lost_lines_total."""
    made = observer(pipe[1])
    os.close(pipe[0])
    pipe[0] = -1
    emit(made, "one")
    emit(made, "two", "three")
    assert made.failures.lost_lines == 3


@pytest.mark.parametrize("closed", [True, False])
def test_daemon_writes_to_the_text_log(closed):
    """If standard output goes nowhere, the lines are in twistd's log."""
    fd = os.open(os.devnull, os.O_WRONLY)
    if closed:
        os.close(fd)
    events = []
    emit(observer(fd, events), "{braces} stay")
    if not closed:
        os.close(fd)
    assert [formatEvent(event) for event in events] == ["{braces} stay"]

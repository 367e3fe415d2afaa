"""Lines survive crashes, rotation and full disks."""

import errno
import fcntl
import os

import pytest

from openai_proxy.observe.lines.append_file import AppendFile


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b""),
        (b"one\n", b"one\n"),
        (b"one\ntor", b"one\n"),
        (b"torn", b""),
        (b"one\n" + b"x" * 200000, b"one\n"),
    ],
)
def test_torn_last_line_is_cut_off_at_open(tmp_path, before, after):
    """What a killed process left half written is gone after the next start."""
    path = tmp_path / "log"
    path.write_bytes(before)
    file = AppendFile(str(path))
    file.open()
    file.append(b"next\n")
    file.close()
    assert path.read_bytes() == after + b"next\n"


def test_file_in_use_is_not_cut(tmp_path):
    """A second process never cuts what the first is writing."""
    path = tmp_path / "log"
    first, second = AppendFile(str(path)), AppendFile(str(path))
    first.open()
    with open(path, "ab") as other:
        other.write(b"half")
    second.open()
    assert path.read_bytes() == b"half"
    first.close()
    second.close()


def test_line_goes_apart_from_what_another_process_left_half_written(tmp_path):
    """One of several workers was killed while it wrote: the others' lines stay whole."""
    path = tmp_path / "log"
    first, second = AppendFile(str(path)), AppendFile(str(path))
    first.open()
    path.write_bytes(b"one\nhal")
    second.open()
    second.append(b"two\n")
    assert path.read_bytes() == b"one\nhal\ntwo\n"
    first.close()
    second.close()


def test_a_line_that_is_just_being_written_is_waited_for(tmp_path):
    """A worker that took the place of another put an empty line into the file while others wrote to it."""
    path = tmp_path / "log"
    rest = [b"e is ", b"long\n"]

    def sleep(_):
        with open(path, "ab") as other:
            other.write(rest.pop(0))

    first, second = AppendFile(str(path)), AppendFile(str(path), sleep=sleep)
    first.open()
    path.write_bytes(b"this on")
    second.open()
    second.append(b"two\n")
    assert path.read_bytes() == b"this one is long\ntwo\n"
    first.close()
    second.close()


def test_reopen_follows_the_path(tmp_path):
    """After logrotate moved the file, lines go to a new one."""
    path = tmp_path / "log"
    file = AppendFile(str(path))
    file.append(b"1\n")
    os.rename(path, tmp_path / "log.1")
    file.append(b"2\n")
    file.reopen()
    file.append(b"3\n")
    file.close()
    file.close()
    assert (tmp_path / "log.1").read_bytes() == b"1\n2\n"
    assert path.read_bytes() == b"3\n"


@pytest.mark.parametrize(
    ("room", "there", "lost"),
    [
        (0, b"", None),
        (4, b"abcd\n", 2),
        (9, b"abcdefgh\n", 1),
        (11, b"abcdefgh\nij\n", 1),
    ],
)
def test_short_write_then_full_disk_leaves_whole_lines(tmp_path, room, there, lost):
    """A disk that fills up tears at most the line it cut, never the ones after it, and leaves none empty."""
    left = [room]

    def write(fd, data):
        if left[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = min(left[0], len(data))
        left[0] -= taken
        return os.write(fd, data[:taken])

    path = tmp_path / "log"
    file = AppendFile(str(path), write)
    with pytest.raises(OSError, match="No space left") as raised:
        file.append(b"abcdefgh\nijklm\n")
    assert raised.value.errno == errno.ENOSPC
    assert getattr(raised.value, "lines", None) == lost
    left[0] = 1000
    file.append(b"next\n")
    file.close()
    assert path.read_bytes() == there + b"next\n"


def test_short_write_that_goes_on_is_whole(tmp_path):
    """A signal's short write is completed."""

    def write(fd, data):
        return os.write(fd, data[:3])

    path = tmp_path / "log"
    file = AppendFile(str(path), write)
    file.append(b"abcdefgh\n")
    file.close()
    assert path.read_bytes() == b"abcdefgh\n"


def test_file_system_without_locks_is_written_to(tmp_path, monkeypatch):
    """Some network file systems have none: a line half written stays, and the next one is apart from it."""

    def refuse(fd, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    path = tmp_path / "log"
    path.write_bytes(b"one\nhal")
    file = AppendFile(str(path))
    file.open()
    file.append(b"two\n")
    file.close()
    assert path.read_bytes() == b"one\nhal\ntwo\n"

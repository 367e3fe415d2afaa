"""Lines on the local disk that wait to be shipped."""

import errno
import os
import shutil

import pytest
from observe.exchange_log.descriptors import open_files

from openai_proxy.observe.exchange_log.remote.batch import BatchGone, Mark
from openai_proxy.observe.exchange_log.remote.claims import claim_left_behind, claim_own
from openai_proxy.observe.exchange_log.remote.spool import BATCH_BYTES, KEEP_S, Spool

NAME = "m_20260101.jsonl"


def spool(root, limit_bytes=1 << 30, **options):
    made = Spool(claim_own(str(root)), limit_bytes, **options)
    made.open()
    return made


def texts(batches):
    return [batch.read(0, batch.size) for batch in batches]


def files(root):
    return sorted(path.name for path in root.glob("*/*") if path.name != "lock")


def die(spool):
    """End as a killed process: its lock goes, its files stay as they are."""
    spool._claim.release()


def test_line_is_on_disk_when_append_returns(tmp_path):
    """What a client saw the end of survives the process."""
    first = spool(tmp_path)
    first.append(NAME, b'{"n":1}\n')
    first.append("other_20260101.jsonl", b'{"n":2}\n')
    die(first)
    second = spool(tmp_path)
    assert second.directory == first.directory
    assert (second.waiting_bytes, second.names()) == (16, [NAME, "other_20260101.jsonl"])
    assert texts(second.take(NAME)) == [b'{"n":1}\n']


def test_a_directory_that_somebody_deletes_is_made_anew(tmp_path):
    """It costs what waited there, not every later line, and it is still this process's own."""
    root = tmp_path / "root"
    made = spool(root)
    made.append(NAME, b"1\n")
    made.take(NAME)
    shutil.rmtree(root)
    made.append(NAME, b"2\n")
    assert [path.read_bytes() for path in root.glob("*/*") if path.name != "lock"] == [b"2\n"]
    assert claim_left_behind(str(root)) == []
    assert claim_own(str(root)).directory != made.directory
    die(made)
    assert [claim.directory for claim in claim_left_behind(str(root))] == [made.directory]


def test_taken_lines_are_closed_to_later_ones(tmp_path):
    """What is under way does not change."""
    made = spool(tmp_path)
    made.append(NAME, b"1\n")
    (batch,) = made.take(NAME)
    made.append(NAME, b"2\n")
    assert texts([batch]) == [b"1\n"]
    assert texts(made.take(NAME)) == [b"1\n", b"2\n"]


def test_batches_are_of_whole_lines_and_bounded(tmp_path):
    """A batch fits into one append; a longer line has one of its own."""
    made = spool(tmp_path)
    lines = [b"a" * 3_000_000 + b"\n", b"b" * 3_000_000 + b"\n", b"c" * 5_000_000 + b"\n", b"d\n"]
    for line in lines:
        made.append(NAME, line)
    assert texts(made.take(NAME)) == lines
    assert all(batch.size <= BATCH_BYTES or batch.read(0, 1) == b"c" for batch in made.take(NAME))


def test_torn_line_of_a_killed_process_is_cut_off(tmp_path):
    """Every line that is shipped can be parsed."""
    first = spool(tmp_path)
    first.append(NAME, b'{"n":1}\n')
    (path,) = tmp_path.glob(f"*/{NAME}*")
    with path.open("ab") as file:
        file.write(b'{"n":')
    die(first)
    assert texts(spool(tmp_path).take(NAME)) == [b'{"n":1}\n']


def test_full_disk_takes_a_line_whole_or_not_at_all(tmp_path):
    """A short write leaves no part of its line."""
    room = [100]

    def write(fd, data):
        count = min(room[0], len(data))
        if count == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        room[0] -= count
        return os.write(fd, data[:count])

    made = spool(tmp_path, write=write)
    made.append(NAME, b"x" * 59 + b"\n")
    with pytest.raises(OSError, match="No space left"):
        made.append(NAME, b"y" * 59 + b"\n")
    room[0] = 100
    made.append(NAME, b"z\n")
    assert texts(made.take(NAME)) == [b"x" * 59 + b"\n" + b"z\n"]


def test_limit_refuses_lines_until_there_is_room(tmp_path):
    """The spool never grows beyond its bound; a sixteenth must be free before it takes lines again."""
    made = spool(tmp_path, limit_bytes=320)
    for _ in range(4):
        made.append(NAME, b"x" * 79 + b"\n")
        made.take(NAME)
    for _ in range(2):
        with pytest.raises(OSError, match="320 bytes"):
            made.append(NAME, b"\n")
    made.delivered(made.take(NAME)[0], 0.0)
    made.append(NAME, b"\n")
    assert made.waiting_bytes == 241


def test_what_was_left_counts_towards_the_limit(tmp_path):
    """A daemon that is restarted again and again does not fill the disk."""
    first = spool(tmp_path, limit_bytes=100)
    first.append(NAME, b"x" * 89 + b"\n")
    die(first)
    second = spool(tmp_path, limit_bytes=100)
    with pytest.raises(OSError, match="100 bytes"):
        second.append(NAME, b"x" * 19 + b"\n")


def test_open_files_are_bounded(tmp_path):
    """A thousand models do not use up the file descriptors, nor any line."""
    made = spool(tmp_path)
    before = len(open_files(tmp_path))
    for n in range(1000):
        made.append(f"{n % 200}_20260101.jsonl", b"{}\n")
    assert len(open_files(tmp_path)) <= before + 64
    batches = [batch for name in made.names() for batch in made.take(name)]
    assert texts(batches) == [b"{}\n" * 5] * 200


def test_mark_survives_a_restart(tmp_path):
    """The destination of a batch is known before anything is sent."""
    first = spool(tmp_path)
    first.append(NAME, b"1\n")
    first.take(NAME)[0].put_mark(Mark(2, 4711))
    die(first)
    (batch,) = spool(tmp_path).take(NAME)
    assert (batch.mark, batch.name, texts([batch])) == (Mark(2, 4711), NAME, [b"1\n"])


def test_delivered_batches_are_kept_for_a_while(tmp_path):
    """A store that forgets what it has acknowledged gets it once more, in order."""
    made = spool(tmp_path)
    for line in (b"1\n", b"2\n"):
        made.append(NAME, line)
        made.delivered(made.take(NAME)[0], 100.0)
    assert (made.waiting_bytes, made.names()) == (0, [])
    made.append(NAME, b"3\n")
    made.doubt()
    assert texts(made.take(NAME)) == [b"1\n", b"2\n", b"3\n"]
    assert made.waiting_bytes == 6
    for batch in made.take(NAME):
        made.delivered(batch, 100.0)
    made.expire(100.0 + KEEP_S - 1)
    assert not made.idle
    made.expire(100.0 + KEEP_S)
    assert made.idle
    assert files(tmp_path) == []


def test_old_delivered_batches_are_not_sent_after_a_restart(tmp_path):
    """Whoever took the blobs away meanwhile does not get old lines twice."""
    now = [0.0]
    first = spool(tmp_path)
    first.append(NAME, b"1\n")
    first.delivered(first.take(NAME)[0], 0.0)
    (path,) = tmp_path.glob(f"*/{NAME}*")
    now[0] = path.stat().st_ctime + KEEP_S - 1
    first.close()
    second = spool(tmp_path, wall_clock=lambda: now[0])
    assert second.waiting_bytes == 2
    second.close()
    now[0] += 2
    assert spool(tmp_path, wall_clock=lambda: now[0]).waiting_bytes == 0
    assert files(tmp_path) == []


def test_files_taken_away_are_noticed(tmp_path):
    """Whoever cleans up the spool by hand does not stop the rest."""
    made = spool(tmp_path)
    made.append(NAME, b"1\n")
    (batch,) = made.take(NAME)
    os.unlink(batch.path)
    with pytest.raises(BatchGone):
        batch.read(0, 2)
    with pytest.raises(BatchGone):
        batch.put_mark(Mark(0, 0))
    made.gone(batch)
    assert made.idle


def test_closed_spool_takes_nothing(tmp_path):
    """After the end no line is taken for safe."""
    made = spool(tmp_path)
    made.append(NAME, b"1\n")
    made.close()
    made.close()
    with pytest.raises(OSError, match="closed"):
        made.append(NAME, b"2\n")


def test_each_process_has_a_directory_of_its_own(tmp_path):
    """Two of them never ship the same file; who starts again finds its own."""
    first, second = claim_own(str(tmp_path)), claim_own(str(tmp_path))
    assert first.directory != second.directory
    second.release()
    assert claim_own(str(tmp_path)).directory == second.directory


def test_what_ended_processes_left_is_found(tmp_path):
    """Nothing waits for ever because its process does not come back."""
    (tmp_path / "lost+found").mkdir()
    running, dead, empty = spool(tmp_path), spool(tmp_path), spool(tmp_path)
    running.append(NAME, b"1\n")
    dead.append(NAME, b"2\n")
    die(dead)
    die(empty)
    (claim,) = claim_left_behind(str(tmp_path))
    assert claim.directory == dead.directory
    assert claim_left_behind(str(tmp_path)) == []

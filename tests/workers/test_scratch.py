"""The state file of workers whose settings name none."""

import fcntl
import os
import stat
import tempfile
from pathlib import Path

import pytest

from openai_proxy.settings import SettingsError, load_settings
from openai_proxy.workers.scratch import Scratch


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    scratch = Scratch()
    yield scratch
    scratch.close()


def test_settings_without_a_file_get_one_that_goes_with_the_daemon(scratch, tmp_path):
    """For this user only, and the same after a reload."""
    settings = load_settings({}, {}, tmp_path)
    file = Path(scratch.shared(settings).cost.state_file)
    assert scratch.shared(settings).cost.state_file == str(file)
    assert stat.S_IMODE(os.stat(file.parent).st_mode) == 0o700
    scratch.close()
    scratch.close()
    assert not file.parent.exists()


def test_directory_is_locked_against_cleaners(scratch, tmp_path):
    """systemd-tmpfiles takes an exclusive lock of what it removes: an idle daemon keeps its file."""
    file = Path(scratch.shared(load_settings({}, {}, tmp_path)).cost.state_file)
    fd = os.open(file.parent, os.O_RDONLY)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(fd)


def test_settings_with_a_file_need_no_directory(scratch, tmp_path, monkeypatch):
    """A machine without a place for temporary files can name a state file."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    settings = load_settings({}, {"COST__STATE_FILE": "s.sqlite3"}, tmp_path)
    assert scratch.shared(settings) is settings


def test_no_place_for_temporary_files_is_one_line(scratch, tmp_path, monkeypatch):
    """Which setting helps, and why it is needed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(
        SettingsError, match=r"^cost.state_file: no directory for what workers share: .*No such"
    ):
        scratch.shared(load_settings({}, {}, tmp_path))

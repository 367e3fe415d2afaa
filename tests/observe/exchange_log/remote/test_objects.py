"""Any fsspec file system takes batches as objects."""

import fsspec
import pytest

from openai_proxy.observe.exchange_log.remote.claims import claim_own
from openai_proxy.observe.exchange_log.remote.deliveries import Deliveries
from openai_proxy.observe.exchange_log.remote.spool import Spool
from openai_proxy.observe.exchange_log.remote.storage import parse_remote


@pytest.fixture
def memory():
    """Empty fsspec's file system in memory, which is one for the process."""
    filesystem = fsspec.filesystem("memory")
    yield filesystem
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


def ship(root, remote, *lines):
    spool = Spool(claim_own(str(root)), 1 << 30)
    spool.open()
    for line in lines:
        spool.append("m_20260101.jsonl", line)
    deliveries = Deliveries(spool, str(root), remote.connect)
    deliveries.round()
    deliveries.close()
    return spool


def test_batches_become_objects(tmp_path, memory):
    """Each batch is an object whose name begins as the log file's."""
    remote = parse_remote("memory://logs/proxy", {}, {})
    spool = ship(tmp_path, remote, b"1\n", b"2\n")
    (path,) = memory.find("/logs/proxy")
    assert path.startswith(f"/logs/proxy/m_20260101.{spool.directory[-8:]}.")
    assert path.endswith(".jsonl")
    assert memory.cat(path) == b"1\n2\n"


def test_delivering_again_doubles_nothing(tmp_path, memory):
    """After a kill, what may have arrived is written once more over itself."""
    remote = parse_remote("memory://logs", {}, {})
    ship(tmp_path, remote, b"1\n")
    ship(tmp_path, remote, b"2\n")  # finds the first one kept, and delivers it again
    assert sorted(memory.cat(path) for path in memory.find("/logs")) == [b"1\n", b"2\n"]


def test_local_directories_are_made(tmp_path):
    """file:// works as any other, its directories included."""
    ship(tmp_path / "spool", parse_remote(f"file://{tmp_path}/a/b", {}, {}), b"1\n")
    assert [path.read_bytes() for path in (tmp_path / "a" / "b").iterdir()] == [b"1\n"]

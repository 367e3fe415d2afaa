"""What is known of batches' input files stays known."""

import pytest
from cost.sync_file import SyncFile
from fakes import result_of

from openai_proxy.cost.batch_inputs import KEPT_S, FileInputs, MemoryInputs
from openai_proxy.policies.batches.input import BatchInput, ModelUse

KNOWN = BatchInput({"m": ModelUse(2, 10, 20)}, ("n",), ("chat/completions",), 99)


@pytest.fixture(params=["file", "memory"])
def inputs(request, tmp_path):
    if request.param == "memory":
        return MemoryInputs()
    return FileInputs(SyncFile(tmp_path / "state.sqlite3"), lambda: 0.0)


def test_what_is_kept_is_found_with_its_owner(inputs):
    """An id that the upstream gives out again is the newest file's."""
    assert result_of(inputs.find("file-1")) is None
    result_of(inputs.keep("file-1", "key:bob", BatchInput(problem="line 1")))
    result_of(inputs.keep("file-1", "key:alice", KNOWN))
    assert result_of(inputs.find("file-1")) == ("key:alice", KNOWN)


def test_a_restart_forgets_nothing_for_400_days(tmp_path):
    """Then it is removed when another file comes."""
    moment = [0.0]
    file = SyncFile(tmp_path / "state.sqlite3")
    result_of(FileInputs(file, lambda: moment[0]).keep("file-1", "key:alice", KNOWN))
    file.close()
    again = FileInputs(SyncFile(tmp_path / "state.sqlite3"), lambda: moment[0])
    moment[0] = KEPT_S - 1.0
    assert result_of(again.find("file-1")) == ("key:alice", KNOWN)
    moment[0] = KEPT_S + 1.0
    assert result_of(again.find("file-1")) is None
    result_of(again.keep("file-2", "key:alice", KNOWN))
    count = "SELECT COUNT(*) FROM batch_inputs"
    assert again._file.connection.execute(count).fetchone() == (1,)


def test_memory_is_bounded():
    """The oldest are forgotten."""
    inputs = MemoryInputs()
    for number in range(10_001):
        inputs.keep(f"file-{number}", "key:alice", KNOWN)
    assert result_of(inputs.find("file-0")) is None
    assert result_of(inputs.find("file-1")) == result_of(inputs.find("file-10000")) == ("key:alice", KNOWN)

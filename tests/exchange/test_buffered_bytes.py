"""What many connections hold together is bounded."""

import pytest

from openai_proxy.exchange.buffered_bytes import BufferedBytes, Lease
from openai_proxy.net.memory import memory_bytes


def test_leases_share_one_limit():
    """What is freed is there for others, once."""
    of = BufferedBytes(10)
    first, second = Lease(of), Lease(of)
    assert first.take(4)
    assert second.take(6)
    assert not first.take(1)
    first.free()
    first.free()
    assert (of.held_bytes, second.take(4), second.take(1)) == (6, True, False)


@pytest.mark.parametrize(
    ("files", "limited"),
    [
        ({"/sys/fs/cgroup/memory.max": "104857600\n"}, True),
        ({"/sys/fs/cgroup/memory/memory.limit_in_bytes": "104857600"}, True),
        ({"/sys/fs/cgroup/memory.max": "max\n"}, False),
        ({}, False),
    ],
)
def test_the_memory_of_a_container_is_its_own(files, limited):
    """Not that of the machine."""

    def read(path):
        if path not in files:
            raise FileNotFoundError
        return files[path]

    assert (memory_bytes(read) == 100 << 20) is limited


def test_a_unit_of_systemd_is_bounded_by_its_own_group():
    """`MemoryMax=` of the unit, or of a slice above it."""
    files = {
        "/proc/self/cgroup": "0::/system.slice/openai-proxy.service\n",
        "/sys/fs/cgroup/system.slice/openai-proxy.service/memory.max": "max\n",
        "/sys/fs/cgroup/system.slice/memory.max": f"{64 << 20}\n",
    }

    def read(path):
        if path not in files:
            raise FileNotFoundError(path)
        return files[path]

    assert memory_bytes(read) == 64 << 20
    files["/sys/fs/cgroup/system.slice/openai-proxy.service/memory.max"] = f"{32 << 20}\n"
    assert memory_bytes(read) == 32 << 20


@pytest.mark.parametrize("answer", [-1, OSError(), ValueError()])
def test_memory_is_sensible_where_the_system_does_not_tell(answer):
    """Older C libraries read /proc/meminfo, which `ProcSubset=pid` hides."""

    def sysconf(name):
        if name == "SC_PAGE_SIZE":
            return 4096
        if isinstance(answer, Exception):
            raise answer
        return answer

    def nothing(path):
        raise FileNotFoundError(path)

    assert memory_bytes(nothing, sysconf) == 1 << 30

"""Descriptors: the limit is raised, and divided so that nothing that runs lacks one."""

import resource
import subprocess
import sys

import pytest
from twisted.internet.testing import MemoryReactorClock

from openai_proxy.net.descriptors import REFUSALS, RESERVE, capacity, open_now, usable


@pytest.mark.parametrize("limit", [64, 96, 128, 256, 512, 1024, 4096, 65536, 1 << 20])
@pytest.mark.parametrize("wanted", [1, 10, 10_000])
@pytest.mark.parametrize("exchange_log", [False, True])
def test_all_that_is_served_has_two_descriptors(limit, wanted, exchange_log):
    """Served connections, those that are refused, and upstreams' fit into the limit together."""
    in_use = 20
    fits = capacity(limit, in_use, wanted, exchange_log=exchange_log)
    assert 1 <= fits.connections <= wanted
    assert fits.upstream >= fits.connections
    assert fits.sockets >= fits.connections + REFUSALS
    if limit >= 256:
        assert in_use + RESERVE + fits.sockets + fits.upstream <= limit
        assert fits.connections == wanted or fits.connections > (limit - 200) // 2 - 20


def test_a_large_limit_serves_what_is_wanted():
    """10,000 connections need little more than 20,000 descriptors."""
    assert capacity(20_200, 20, 10_000).connections == 10_000
    assert capacity(20_000, 20, 10_000).connections < 10_000


def test_what_is_open_is_counted():
    """As the system says."""
    before = open_now()
    with open(__file__):
        assert open_now() == before + 1


def test_select_takes_no_more_than_1024():
    """Its reactor fails for a descriptor above."""

    class SelectReactor(MemoryReactorClock):
        pass

    assert usable(SelectReactor()) <= 1024
    assert usable(MemoryReactorClock()) == min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 1 << 30)


RAISED = """
import resource, sys
from openai_proxy.net.descriptors import raise_limit
name = resource.RLIMIT_NOFILE
hard = min(1000, resource.getrlimit(name)[1])
resource.setrlimit(name, (int(sys.argv[1]), hard))
raise_limit()
raise_limit()
assert resource.getrlimit(name) == (hard, hard), resource.getrlimit(name)
"""


@pytest.mark.parametrize("soft", ["64", "999", "1000"])
def test_the_soft_limit_becomes_the_hard_one(soft):
    """May be called again."""
    subprocess.run([sys.executable, "-c", RAISED, soft], check=True)

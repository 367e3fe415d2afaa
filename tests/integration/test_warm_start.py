"""Daemons that are forks of one process (`world.warm_start`) are like those that users start."""

import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from world.client import ask
from world.daemon import TWISTD, Daemon
from world.requests import request
from world.waiting import PATIENCE_S, eventually
from world.warm_start import WarmProcess


def test_each_has_numbers_of_its_own(start):
    """They share no seed: no two exchanges have the same id."""
    worlds = [start(), start()]
    for world in worlds:
        for _ in range(3):
            assert ask(world.port, request()).status == 200
        assert eventually(lambda world=world: len(re.findall(r"id=(\S+)", world.daemon.log)) == 3)
    ids = [each for world in worlds for each in re.findall(r"id=(\S+)", world.daemon.log)]
    assert len(set(ids)) == 6


def test_its_end_is_reported_to_all_who_ask(start):
    """As often as they ask, from whatever thread; and whoever waits in vain learns that, too."""
    process = start().daemon.process
    assert isinstance(process, WarmProcess)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.0)
    process.kill()
    others = [WarmProcess(process._parent, process.pid) for _ in range(4)]
    with ThreadPoolExecutor(5) as pool:
        ends = list(pool.map(lambda each: each.wait(PATIENCE_S), [process, *others]))
    assert ends == [-signal.SIGKILL] * 5


def test_a_start_that_fails_says_why_and_ends_with_1(tmp_path):
    """In the directory and with the variables that it was given."""
    (tmp_path / "proxy.toml").write_text('log_level = "loud"\n')
    with (tmp_path / "stdout").open("wb") as output:
        command = [str(TWISTD), "-n", "--pidfile=", "openai-proxy"]
        environment = {"OPENAI_PROXY_CONFIG": "proxy.toml"}
        process = Daemon.launch(command, cwd=tmp_path, env=environment, output=output)
        assert isinstance(process, WarmProcess)
        assert process.wait(PATIENCE_S) == 1
    said = (tmp_path / "stdout").read_text()
    assert said.startswith("openai-proxy: log_level (from proxy.toml): ")
    assert said.count("\n") == 1

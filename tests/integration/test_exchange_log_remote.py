"""The exchange log in other remote stores, and what stops the start."""

import json
import os
import signal
import subprocess
from collections import Counter

import pytest
from world.client import Client
from world.daemon import TWISTD, whole_lines
from world.load import Crowd, numbered, numbers
from world.waiting import PATIENCE_S, eventually

KEY = "Y2FuYXJ5LWNhbmFyeQ=="


def lines(store):
    return [json.loads(line) for path in store.iterdir() for line in whole_lines(path).splitlines()]


@pytest.mark.slow
def test_kills_lose_and_double_nothing(start, tmp_path):
    """Objects of an fsspec file system: every exchange once, though the daemon is killed again and again."""
    store, directory = tmp_path / "store", tmp_path / "daemon"
    directory.mkdir()
    options = {"options": ["-o", f"exchange-log:url=file://{store}"], "directory": directory}
    world = start(**options)
    crowd = Crowd(world.port)
    try:
        for _ in range(3):
            before = len(crowd.answered)
            assert eventually(lambda before=before: len(crowd.answered) > before + 60)
            world.daemon.signal(signal.SIGKILL)
            world.daemon.process.wait(PATIENCE_S)
            world = start(**options)
            crowd.port = world.port
    finally:
        crowd.stop()
    assert eventually(lambda: store.exists() and set(crowd.answered) <= set(numbers(lines(store))))
    world.daemon.signal(signal.SIGTERM)
    assert world.daemon.wait_until_gone()
    assert all(path.read_bytes().endswith(b"\n") for path in store.iterdir())
    found = lines(store)
    assert max(Counter(numbers(found)).values()) == 1
    assert max(Counter(line["id"] for line in found).values()) == 1


def test_full_spool_costs_lines_and_no_requests(start, tmp_path):
    """Beyond its bound the spool takes no lines; this is said once, and requests go on."""
    (tmp_path / "store").write_text("no directory")
    spec = f"exchange-log:url=file://{tmp_path}/store/logs:spool={tmp_path}/spool:spool_bytes=3000"
    world = start(options=["-o", spec])
    with Client(world.port) as client:
        for number in range(20):
            client.send(numbered(number))
            assert client.response().status == 200
    assert world.daemon.log.count("the spool holds its 3000 bytes already; lines are lost") == 1
    assert eventually(lambda: "cannot ship the exchange log" in world.daemon.log)
    left = list((tmp_path / "spool").rglob("*.jsonl.*"))
    assert 0 < sum(path.stat().st_size for path in left) <= 3000


@pytest.mark.parametrize(
    ("options", "env", "said"),
    [
        (["-o", "exchange-log:url=az://logs"], {}, "AZURE_STORAGE_ACCOUNT_NAME"),
        (["-o", f"exchange-log:url=az://logs:account_name=a:account_key={KEY}"], {}, "command line"),
        ([], {"STORAGE_TYPE": "azure", "AZURE_STORAGE_ACCOUNT_NAME": "a"}, "azure_container"),
        (
            [],
            {
                "STORAGE_TYPE": "azure",
                "AZURE_STORAGE_CONTAINER": "c",
                "AZURE_STORAGE_CONNECTION_STRING": "canary",
            },
            "connection string cannot be read",
        ),
        (["-o", "exchange-log:url=nosuch://x"], {}, "nosuch"),
        (["-o", "exchange-log:url=memory://x:spool=/proc/x"], {}, "/proc/x"),
    ],
)
def test_what_can_not_work_stops_the_start(tmp_path, options, env, said):
    """One line, without the secret, and exit 1."""
    done = subprocess.run(
        [str(TWISTD), "-n", "--pidfile=", "openai-proxy", "--port", "tcp:0:interface=127.0.0.1", *options],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not any(secret in done.stdout + done.stderr for secret in (KEY, "canary"))


def test_check_config_shows_no_secret_and_leaves_nothing(tmp_path):
    """A configuration can be tried before it is used."""
    done = subprocess.run(
        [str(TWISTD), "-n", "openai-proxy", "--check-config"],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "STORAGE_TYPE": "azure",
            "AZURE_STORAGE_CONTAINER": "logs",
            "AZURE_STORAGE_ACCOUNT_NAME": "acc",
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    assert "storage.azure_account_name" in done.stdout
    assert KEY not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []

"""The exchange log in Azure's own Azurite: each line once, whatever dies in between."""

import signal
import time
from collections import Counter

import pytest
from world.azurite import ACCOUNT, KEY, Azurite
from world.client import Client
from world.load import Crowd, numbered, numbers
from world.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.slow

NAME = time.strftime("m%%d_%Y%m%d.jsonl", time.gmtime())


@pytest.fixture
def azurite(tmp_path):
    """Start an Azurite of this test's own."""
    server = Azurite(tmp_path / "azurite")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def begin(start):
    """Start daemons that log to an Azurite, by the variables that everybody knows."""

    def begun(azurite, **options):
        env = {
            "OBSERVERS": "none",
            "STORAGE_TYPE": "azure",
            "AZURE_STORAGE_CONTAINER": "logs",
            "AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string,
        }
        return start(env={**env, **options.pop("env", {})}, **options)

    return begun


def ask(port, *wanted):
    with Client(port) as client:
        for number in wanted:
            client.send(numbered(number))
            assert client.response().status == 200


def end(world):
    """End a daemon as an operator does, with one signal and patience."""
    world.daemon.signal(signal.SIGTERM)
    assert world.daemon.wait_until_gone()


def kill(world):
    world.daemon.signal(signal.SIGKILL)
    world.daemon.process.wait(PATIENCE_S)


def test_lines_arrive_while_it_runs_and_at_its_end(azurite, begin):
    """Blobs have the log files' names, the container is made, and the end ships what waits."""
    world = begin(azurite)
    ask(world.port, 0, 1, 3)
    assert eventually(lambda: len(azurite.lines()) == 3), world.daemon.log
    ask(world.port, 6)
    end(world)
    blobs = azurite.blobs()
    names = {NAME % 0, NAME % 1} | {time.strftime(f"m{n}_%Y%m%d.jsonl", time.gmtime()) for n in (0, 1)}
    assert set(blobs) <= names
    assert sorted(numbers(azurite.lines())) == [0, 1, 3, 6]
    assert KEY not in world.daemon.log


def test_kills_and_an_outage_lose_and_double_nothing(azurite, begin, tmp_path):
    """Azurite killed, the daemon killed and started again meanwhile, all under load: every exchange once."""
    directory = tmp_path / "daemon"
    directory.mkdir()
    world = begin(azurite, directory=directory)
    crowd = Crowd(world.port)
    try:
        assert eventually(lambda: len(azurite.lines()) > 20), world.daemon.log
        azurite.kill()
        time.sleep(1.5)
        kill(world)
        world = begin(azurite, directory=directory)
        crowd.port = world.port
        assert eventually(lambda: "cannot ship" in world.daemon.log)
        azurite.start()
        assert eventually(lambda: "shipped to az://logs again" in world.daemon.log), world.daemon.log
        kill(world)
        azurite.stop()
        azurite.start()
        world = begin(azurite, directory=directory)
        crowd.port = world.port
        before = len(crowd.answered)
        assert eventually(lambda: len(crowd.answered) > before + 50)
    finally:
        crowd.stop()
    answered = set(crowd.answered)
    assert eventually(lambda: answered <= set(numbers(azurite.lines()))), world.daemon.log
    end(world)
    lines = azurite.lines()
    assert [number for number, count in Counter(numbers(lines)).items() if count > 1] == []
    assert max(Counter(line["id"] for line in lines).values()) == 1
    assert len(answered) > 100


def test_store_that_hangs_holds_up_nobody(azurite, begin, tmp_path):
    """Requests go on, SIGTERM ends the daemon in time, and the next one ships what waited."""
    directory = tmp_path / "daemon"
    directory.mkdir()
    world = begin(azurite, directory=directory)
    ask(world.port, 0)
    assert eventually(lambda: len(azurite.lines()) == 1)
    azurite.freeze()
    ask(world.port, *range(1, 100))
    end(world)
    assert "stay in" in world.daemon.log
    azurite.thaw()
    world = begin(azurite, directory=directory)
    assert eventually(lambda: sorted(numbers(azurite.lines())) == list(range(100))), world.daemon.log


def test_reload_ships_on(azurite, begin, tmp_path):
    """A reload that builds the observers anew loses no line, and the spool changes its owner."""
    config = tmp_path / "c.toml"
    config.write_text('observers = ["none"]\n')
    world = begin(azurite, options=["--config", str(config)], env={"OBSERVERS": ""})
    ask(world.port, 0, 3)
    config.write_text('observers = ["log"]\n')
    world.daemon.signal(signal.SIGHUP)
    assert eventually(lambda: "configuration reloaded" in world.daemon.log)
    ask(world.port, 6, 9)
    assert eventually(lambda: sorted(numbers(azurite.lines())) == [0, 3, 6, 9]), world.daemon.log
    assert all(name.startswith("m0_") for name in azurite.blobs())


def test_two_daemons_share_a_container(azurite, begin):
    """Each blob has one writer."""
    worlds = [begin(azurite), begin(azurite)]
    for number in range(0, 60, 3):
        ask(worlds[number % 2].port, number)
    assert eventually(lambda: len(azurite.lines()) == 20)
    assert sorted(numbers(azurite.lines())) == list(range(0, 60, 3))
    assert len(azurite.blobs()) == 2


def test_account_name_key_and_container(tmp_path, authority, start):
    """The three variables are enough; a spec beside them names another place in the account."""
    certificate = authority.issue_cert("127.0.0.1")
    paths = [tmp_path / name for name in ("cert.pem", "key.pem", "ca.pem")]
    certificate.cert_chain_pems[0].write_to_path(str(paths[0]))
    certificate.private_key_pem.write_to_path(str(paths[1]))
    authority.cert_pem.write_to_path(str(paths[2]))
    azurite = Azurite(tmp_path / "azurite", "--cert", str(paths[0]), "--key", str(paths[1]))
    azurite.start()
    try:
        host = rf"account_host=127.0.0.1\:{azurite.port}/{ACCOUNT}"
        world = start(
            options=["-o", f"exchange-log:url=az://logs/some/where:{host}"],
            env={
                "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
                "AZURE_STORAGE_ACCOUNT_KEY": KEY,
                "REQUESTS_CA_BUNDLE": str(paths[2]),
            },
        )
        ask(world.port, 0)
        end(world)
        with azurite.container(connection_verify=str(paths[2])) as container:
            names = [blob.name for blob in container.list_blobs()]
        assert [name.partition("_")[0] for name in names] == ["some/where/m0"], world.daemon.log
        assert KEY not in world.daemon.log
    finally:
        azurite.kill()

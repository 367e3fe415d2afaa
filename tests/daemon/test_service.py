"""The daemon's service, its reloads above all, without a socket."""

import json
import os
import queue
import signal
import sys
import threading

import pytest
from logged import log_lines
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel

from openai_proxy.daemon.service import ProxyService
from openai_proxy.settings import load_settings


@pytest.fixture
def warned():
    """What the log says, warnings and worse."""
    with log_lines(level=LogLevel.warn) as lines:
        yield lines


class Configuration:
    """What the next reload finds."""

    def __init__(self, directory, **environ):
        self._directory = directory
        self.environ = environ

    def load(self):
        return load_settings({}, self.environ, self._directory)


@pytest.fixture
def configuration(tmp_path):
    return Configuration(tmp_path, PORTS="tcp:1")


@pytest.fixture
def service(configuration):
    return ProxyService(MemoryReactorClock(), configuration.load(), configuration.load)


def test_reload_compares_the_ports_with_those_that_are_open(service, configuration, warned):
    """Not with those of the last reload: putting the file right again is nothing to warn of."""
    configuration.environ = {"PORTS": "tcp:2"}
    service.reload()
    service.reload()
    assert warned == ["reload: ports cannot change while running; the old ones stay"] * 2
    configuration.environ = {"PORTS": "tcp:1"}
    service.reload()
    assert len(warned) == 2


def test_start_tells_of_unknown_variables(configuration, warned):
    """A slip in a variable's name is in the log, not only a limit that is missing."""
    configuration.environ["RETRY__MAX_RETRY"] = "1"
    ProxyService(MemoryReactorClock(), configuration.load(), configuration.load).announce()
    assert warned == [
        "warning: RETRY__MAX_RETRY: unknown setting; the nearest known one is RETRY__MAX_RETRIES"
    ]


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"ADMIN__PORT": "tcp:2"}, "ports"),
        ({"WORKERS": "4"}, "the number of workers"),
        ({"METRICS__KEYS": "true"}, "metrics.keys"),
    ],
)
def test_reload_tells_what_it_can_not_change(service, configuration, warned, changed, what):
    """An operator who moved /metrics, or wants more processes, learns that a restart is needed."""
    configuration.environ |= changed
    service.reload()
    (line,) = warned
    assert line.startswith(f"reload: {what} cannot change while running; the old one")


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (
            {"KEY_STORE__URL": "sqlite:keys.sqlite3", "OPENAI_API_KEY": "sk-up"},
            {},
            "keys of key_store.url have no upstream key",
        ),
        (
            {"PORTS": "tcp:1"},
            {"PORTS": "tcp:1:interface=127.0.0.1", "LIVE__CAPTURE_BYTES": "1000"},
            "live.capture_bytes (from LIVE__CAPTURE_BYTES): keeps whole conversations",
        ),
    ],
)
def test_a_reload_is_checked_with_what_cannot_change(tmp_path, monkeypatch, warned, before, after, why):
    """The new file fits to itself, and not to the ports and the key store that stay."""
    configuration = Configuration(tmp_path, **before)
    service = ProxyService(MemoryReactorClock(), configuration.load(), configuration.load)
    refused = []
    monkeypatch.setattr("openai_proxy.daemon.service.report_refused", refused.append)
    old, configuration.environ = service.serving.exchanger, after
    service.reload()
    assert service.serving.exchanger is old
    (line,) = refused
    assert why in line


def metered(lines):
    return [line for line in lines if "@metered" in line]


def test_what_keys_may_call_is_a_short_line_at_the_start_and_news_at_a_reload(configuration, tmp_path):
    """An operator reads it once: the same line after each `systemctl reload` hides what has changed."""
    key = '[[keys]]\nname = "{0}"\nkey = "{0}-key"\nupstream_key = "sk-{0}"\nmodels = ["m"]\n'

    def load():
        (tmp_path / "c.toml").write_text("".join(key.format(name) for name in names))
        return load_settings({"config": "c.toml"}, configuration.environ, tmp_path)

    names = ["alice", "bob"]
    with log_lines() as lines:
        service = ProxyService(MemoryReactorClock(), load(), load)
        service.announce()
        service.reload()
        assert metered(lines) == [
            "2 keys without `endpoints` may call @metered only (alice, bob); --check-config says what that is"
        ]
        names.append("carol")
        service.reload()
        service.reload()
        _, line = metered(lines)
        assert line.startswith("3 keys without `endpoints` may call @metered only (alice, bob, carol)")


def test_a_reload_refuses_a_file_that_became_empty(tmp_path, monkeypatch):
    """A full disk had cut it off: without client keys the mode was pass-through, and the keys went upstream."""
    file = tmp_path / "c.toml"
    file.write_text('[[keys]]\nname = "alice"\nkey = "k"\nupstream_key = "sk"\n')

    def load():
        return load_settings({"config": "c.toml"}, {}, tmp_path)

    service = ProxyService(MemoryReactorClock(), load(), load)
    refused = []
    monkeypatch.setattr("openai_proxy.daemon.service.report_refused", refused.append)
    for text in ("", " \n"):
        file.write_text(text)
        service.reload()
        assert service.serving.exchanger.mode == "tenants"
    assert refused == [f"the configuration {file} is empty"] * 2
    file.write_text("# nobody\n")
    service.reload()
    assert service.serving.exchanger.mode == "pass-through"


def test_a_reload_says_what_is_on_elsewhere(configuration, tmp_path):
    """Budgets began anew in another file, and only the log of the start had the name of the file."""
    service = ProxyService(MemoryReactorClock(), configuration.load(), configuration.load)
    with log_lines() as lines:
        for name in ("one", "one", "other"):
            configuration.environ["COST__STATE_FILE"] = f"{name}.sqlite3"
            service.reload()
    assert [line for line in lines if "state file" in line] == [
        f"state file: {tmp_path}/{name}.sqlite3" for name in ("one", "other")
    ]


def test_reload_while_draining_changes_nothing(service, configuration):
    """Nothing would stop what it starts; a worker may receive DRAIN in the midst of one."""
    before = service.serving.exchanger
    prepared = service.serving.prepare(configuration.load())
    service.stopService()
    service.reload()
    service.serving.commit(prepared)
    assert service.serving.exchanger is before


def test_reload_reaches_the_pages_own_port_too(tmp_path):
    """What bounds the clients of one port bounds those of the other; loops are known by the new name."""
    configuration = Configuration(tmp_path, PORTS="tcp:1", ADMIN__PORT="tcp:2")
    service = ProxyService(MemoryReactorClock(), configuration.load(), configuration.load)
    configuration.environ |= {
        "LIMITS__HEADER_TIMEOUT_S": "7",
        "LIMITS__CONNECTIONS": "77",
        "UPSTREAM__VIA": "other",
    }
    service.reload()
    for site in (service.serving.site, service.serving.admin_site):
        assert (site.limits.header_timeout_s, site.max_connections, site.pseudonym) == (7, 77, b"other")


@pytest.fixture
def starting(own_signals, monkeypatch, configuration):
    """A service that listens, and a reactor that does not run yet: what stands between is a file's lock, or Redis."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    reactor = MemoryReactorClock()
    service = ProxyService(reactor, configuration.load(), configuration.load)
    service.privilegedStartService()
    return service, reactor


def run(reactor):
    for function, arguments, named in reactor.whenRunningHooks:
        function(*arguments, **named)


def test_sighup_while_the_daemon_starts_is_a_reload(starting, configuration):
    """`twistd ...; kill -HUP` of a deployment's script ended the daemon if the start took a moment longer."""
    service, reactor = starting
    configuration.environ |= {"DRAIN_TIMEOUT_S": "7"}
    os.kill(os.getpid(), signal.SIGHUP)
    run(reactor)
    assert service.serving.exchanger.settings.drain_timeout_s == 7
    assert not reactor.hasStopped


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_to_end_while_the_daemon_starts_ends_it_in_order(starting, number):
    """No pidfile is left, and a container's first process, which gets no signal without asking, hears it."""
    _, reactor = starting
    os.kill(os.getpid(), number)
    assert not reactor.hasStopped
    run(reactor)
    assert reactor.hasStopped


class ThreadedReactor(MemoryReactorClock):
    """What threads hand over waits until the test takes it."""

    def __init__(self):
        super().__init__()
        self.handed_over = queue.Queue()

    def callFromThread(self, function, *arguments):
        self.handed_over.put((threading.current_thread(), function, arguments))

    def turn(self):
        thread, function, arguments = self.handed_over.get(timeout=30)
        assert thread is not threading.main_thread()
        function(*arguments)


def recorded(directory, count):
    directory.mkdir(exist_ok=True)
    line = {
        "timestamp": "2026-01-01",
        "request": {"method": "POST", "path": "/v1/embeddings", "headers": {}},
        "response": {"status_code": 200, "headers": {}, "body": {}},
        "outcome": "complete",
    }
    made = [{**line, "request": {**line["request"], "body": {"input": str(n)}}} for n in range(count)]
    (directory / "a.jsonl").write_text("".join(json.dumps(each) + "\n" for each in made))


def test_a_reload_reads_recorded_exchanges_in_a_thread(tmp_path):
    """What runs goes on meanwhile, with what was there before; a second signal is not lost."""
    reactor = ThreadedReactor()
    configuration = Configuration(tmp_path, OPENAI_API_BASE="replay:cassettes")
    recorded(tmp_path / "cassettes", 1)
    service = ProxyService(reactor, configuration.load(), configuration.load)

    def found():
        return service.serving.exchanger.serverless.recorded

    recorded(tmp_path / "cassettes", 2)
    service.reload()
    assert found() == 1
    reactor.turn()
    assert found() == 2
    service.reload()
    recorded(tmp_path / "cassettes", 3)
    service.reload()
    reactor.turn()
    assert found() == 2  # the first one is not used any more
    reactor.turn()
    assert found() == 3
    assert reactor.handed_over.empty()


def test_a_reload_whose_recorded_exchanges_are_gone_is_refused(tmp_path, warned):
    """The old ones stay, and the next reload works again."""
    reactor = ThreadedReactor()
    configuration = Configuration(tmp_path, OPENAI_API_BASE="replay:cassettes")
    recorded(tmp_path / "cassettes", 1)
    service = ProxyService(reactor, configuration.load(), configuration.load)
    configuration.environ = {"OPENAI_API_BASE": "replay:gone"}
    service.reload()
    reactor.turn()
    assert "cannot read recorded exchanges" in warned[-1] or warned[-1].startswith("reload refused")
    assert service.serving.exchanger.serverless.recorded == 1
    configuration.environ = {"OPENAI_API_BASE": "mock:"}
    service.reload()
    assert service.serving.exchanger.serverless.recorded is None

"""Several workers on every kind of endpoint, and the daemon around them."""

import os
import signal
import socket
import stat
import subprocess
import sys

import pytest
from world.client import Client, ask
from world.daemon import TWISTD
from world.pages import metrics, total
from world.requests import chat, request
from world.upstream import Upstream
from world.waiting import PATIENCE_S, eventually
from world.workers import all_gone, workers

WORKERS = ["--workers", "2"]


def test_several_endpoints_serve_together(start, tmp_path, tls_port, trusting):
    """TCP, TLS, a Unix socket with its mode, the PROXY protocol and the admin's port, all at once."""
    path = str(tmp_path / "proxy.sock")
    world = start(
        ports=[
            tls_port,
            "tcp:0:interface=127.0.0.1",
            f"unix:{path}:mode=600",
            "haproxy:tcp:0:interface=127.0.0.1",
        ],
        env={"ADMIN__PORT": "tcp:0:interface=127.0.0.1"},
        options=WORKERS,
    )
    assert eventually(lambda: len(world.daemon.listening) == 5)
    tls, plain, unix, haproxy, admin = world.daemon.listening
    assert (tls[:8], plain[:7], unix) == ("https://", "http://", f"unix:{path}")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    ports = [int(url.rpartition(":")[2]) for url in (tls, plain, haproxy, admin)]
    assert ask(ports[1], b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").status == 404
    for _ in range(8):
        clients = [Client(ports[0], context=trusting), Client(ports[1]), Client(path=path), Client(ports[2])]
        clients[3].send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n")
        for client in clients:
            client.send(chat())
            assert client.response().status == 200
            client.close()
    assert total(metrics(ports[3]), "openai_proxy_requests_total") == 33  # the refused one counts
    for pid in workers(world.daemon):
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: world.daemon.log.count("is ready") == 2)
    assert total(metrics(ports[3]), "openai_proxy_requests_total") == 33
    assert os.path.exists(path)
    with Client(path=path) as client:
        client.send(chat())
        assert client.response().status == 200
    world.daemon.stop()
    assert not os.path.exists(path)


def test_daemon_with_pidfile_and_logfile(start, tmp_path):
    """The pidfile names the first process; one log takes all; SIGUSR1 opens every file anew."""
    world = start(
        directory=tmp_path,
        twistd=("--pidfile", "proxy.pid", "--logfile", "proxy.log"),
        log="proxy.log",
        options=[*WORKERS, "-o", "console", "-o", f"json:file={tmp_path}/exchanges.json"],
    )
    daemon, port = world.daemon, world.port
    pids = workers(daemon)
    assert len(pids) == 2
    assert ask(port, request()).status == 200
    # console's lines go to the log, for a daemon's standard output leads nowhere
    assert eventually(lambda: "GET /v1/models - 200" in daemon.log)
    line = next(each for each in daemon.log.splitlines() if "GET /v1/models - 200" in each)
    assert "worker " in line
    for name in ("proxy.log", "exchanges.json"):
        (tmp_path / name).rename(tmp_path / f"{name}.old")
    daemon.signal(signal.SIGUSR1)
    assert eventually((tmp_path / "proxy.log").exists)
    assert eventually((tmp_path / "exchanges.json").exists)
    daemon.signal(signal.SIGHUP)
    assert eventually(lambda: "configuration reloaded" in (tmp_path / "proxy.log").read_text())
    daemon.signal(signal.SIGTERM)
    assert daemon.wait_until_gone()
    assert all_gone(pids)
    assert eventually(lambda: not (tmp_path / "proxy.pid").exists())


def test_secrets_are_not_in_the_command_lines(start):
    """`ps` shows how many workers there are, and nothing of the configuration."""
    world = start(
        env={"OPENAI_API_KEY": "sk-canary-upstream", "CLIENT_API_KEYS": "sk-canary-client"},
        options=WORKERS,
    )
    for pid in workers(world.daemon):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            command = file.read()
        assert b"openai_proxy.workers" in command
        assert b"canary" not in command


def refusal(directory, *options, twistd=("-n", "--pidfile="), env=None):
    """Start what cannot start; return its exit code and what it wrote."""
    environment = {"PATH": os.environ["PATH"], "OPENAI_API_BASE": "http://127.0.0.1:9/v1", **(env or {})}
    ended = subprocess.run(
        [str(TWISTD), *twistd, "openai-proxy", "--workers", "2", *options],
        cwd=directory,
        env=environment,
        capture_output=True,
        timeout=PATIENCE_S,
    )
    return ended.returncode, (ended.stdout + ended.stderr).decode()


def test_port_in_use_is_one_line(tmp_path):
    """As with one process: which endpoint and why, exit 1, no worker left running."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        code, said = refusal(tmp_path, "--port", f"tcp:{port}:interface=127.0.0.1")
    assert code == 1
    assert f"openai-proxy: cannot listen on tcp:{port}:interface=127.0.0.1: " in said
    assert "Traceback" not in said


def test_endpoint_that_can_not_be_shared_is_one_line(tmp_path):
    """Standard input is nobody's listening socket."""
    code, said = refusal(tmp_path, "--port", "stdio:")
    assert code == 1
    assert "cannot listen on stdio:: several workers cannot share such an endpoint" in said
    assert "Traceback" not in said


def test_worker_that_can_not_start_stops_the_start(tmp_path):
    """A worker's failure is reported in its words, by a daemon that does not start."""
    (tmp_path / "exchanges.json").symlink_to(tmp_path / "nowhere" / "exchanges.json")
    code, said = refusal(tmp_path, "--port", "tcp:0", "-o", "json:file=exchanges.json")
    assert code == 1
    assert "openai-proxy: an observer cannot start: " in said
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["LIMITS__IN_FLIGHT", "LIMITS__CONNECTIONS"])
def test_limit_that_can_not_be_divided_is_one_line(tmp_path, name):
    """Two workers cannot share one slot."""
    code, said = refusal(tmp_path, env={name: "1"})
    assert code == 1
    assert f"(from {name}): 1 cannot be divided between 2 workers" in said
    assert "Traceback" not in said


SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="http")
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_socket_that_systemd_opened_is_shared(tmp_path):
    """Socket activation works with several workers as with one process."""
    upstream = Upstream()
    output = tmp_path / "stdout"
    twistd = [str(TWISTD), "-n", "--pidfile=", "openai-proxy", "--port", "systemd:domain=INET:index=0"]
    with socket.socket() as listening, output.open("wb") as file:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)
        port = listening.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-c", SYSTEMD, str(listening.fileno()), *twistd, *WORKERS],
            env={"PATH": os.environ["PATH"], "OPENAI_API_BASE": upstream.url},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            pass_fds=(listening.fileno(),),
        )
    try:
        assert eventually(lambda: f"listening on http://127.0.0.1:{port}" in output.read_text())
        for _ in range(10):
            assert ask(port, request()).status == 200
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        upstream.close()
    assert process.returncode == 0
    assert "Traceback" not in output.read_text()

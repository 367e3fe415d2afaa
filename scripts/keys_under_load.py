"""Change client keys at random under load, killing the proxy in between, and check that everything agrees.

    .venv/bin/python scripts/keys_under_load.py --changes 1000
    .venv/bin/python scripts/keys_under_load.py --changes 1000 --store redis

With a SQLite file one daemon runs, of several workers; with Redis two of
them share it. Each change is checked where it was made (a key made works, a
revoked one is refused, at once, in every worker that answers) and at the
other daemon (within five seconds). Now and then a worker, or a whole daemon,
gets SIGKILL in the middle of a change. At the end the store, the page of the
keys and what each secret may do are compared, and every file and answer is
searched for secrets. Takes some minutes; exits with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import quote

TOKEN = "the-admin-token"
ADMIN = {"Authorization": f"Bearer {TOKEN}"}
CHAT = json.dumps({"model": "mock-text", "messages": [{"role": "user", "content": "Hi"}]})
CONFIG = """
ports = ["tcp:{port}:interface=127.0.0.1"]
workers = {workers}
[upstream]
base_url = "mock:"
[admin]
token = "{token}"
[key_store]
url = "{url}"
[storage]
type = "local"
local_log_dir = "log"
[[keys]]
name = "steady"
key = "sk-steady-of-the-configuration"
"""
LOOKS = 4
"""Connections for one check: the kernel spreads them over the workers."""


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


class Daemon:
    """One proxy of several workers, in a directory and a process group of its own."""

    def __init__(self, directory: Path, url: str, workers: int) -> None:
        directory.mkdir()
        self.directory, self.port = directory, free_port()
        text = CONFIG.format(port=self.port, workers=workers, token=TOKEN, url=url)
        (directory / "c.toml").write_text(text)
        self.log = directory / "out.log"
        self.starts = self.not_read = 0
        self.start()

    def start(self) -> None:
        self.starts += 1
        command = [
            str(Path(sys.executable).with_name("twistd")),
            *("-n", "--pidfile=", "openai-proxy", "--config", "c.toml"),
        ]
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                command, cwd=self.directory, stdout=out, stderr=out, start_new_session=True
            )
        self.await_ready()

    def await_ready(self) -> None:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            if self.log.read_text().count("listening on") >= self.starts:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    if self.ask("GET", "/health/live")[0] == 200:
                        return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(f"the daemon did not start:\n{self.log.read_text()[-2000:]}")

    def ask(self, method, path, document=None, headers=ADMIN):
        """Return status and body of a request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            body = (
                None if document is None else document if isinstance(document, str) else json.dumps(document)
            )
            connection.request(method, path, body, {**headers, "Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def chat(self, secret):
        """Return the status; asks again, as every client does, while a restarted worker has not loaded the keys yet."""
        for _ in range(20):
            status, body = self.ask(
                "POST", "/v1/chat/completions", CHAT, {"Authorization": f"Bearer {secret}"}
            )
            if status != 503 or "key_store_unavailable" not in body:
                return status
            self.not_read += 1
            time.sleep(0.1)
        return status

    def kill_worker(self) -> None:
        """SIGKILL to one worker; the supervisor starts another."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        if children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(random.choice(children)), signal.SIGKILL)

    def kill(self) -> None:
        """SIGKILL to all of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


class Load:
    """Clients that send requests all the time with a configured key; counts their answers."""

    def __init__(self, daemons, clients):
        self.daemons, self.ended = daemons, False
        self.statuses, self.broken = {}, 0
        self.threads = [threading.Thread(target=self._run) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def _run(self):
        while not self.ended:
            try:
                status = random.choice(self.daemons).chat("sk-steady-of-the-configuration")
                self.statuses[status] = self.statuses.get(status, 0) + 1
            except (OSError, http.client.HTTPException):
                self.broken += 1
                time.sleep(0.05)

    def stop(self):
        self.ended = True
        for thread in self.threads:
            thread.join()


class Trial:
    """The changes, and what must hold after each of them."""

    def __init__(self, daemons, rng):
        self.daemons, self.rng = daemons, rng
        self.keys = {}
        """For each name: the secret that works, the former one that works too, whether it is blocked."""
        self.dead, self.shown, self.faults = [], set(), []
        self.far_s, self.counts, self.unknown = [], {}, 0

    # ---- what is asked

    def admin(self, daemon, method, path, document=None, *, shows=False):
        status, body = daemon.ask(method, path, document)
        found = re.findall(r"sk-proxy-[\w-]+", body)
        if found and not shows:
            self.faults.append(f"{method} {path} shows a secret")
        self.shown.update(found)
        return status, json.loads(body) if body else None

    def expect(self, what, wanted, got):
        if wanted != got:
            self.faults.append(f"{what}: {got} instead of {wanted}")

    def check(self, daemon, what, secret, wanted):
        """At once, in every worker that answers."""
        self.expect(what, {wanted}, {daemon.chat(secret) for _ in range(LOOKS)})

    def check_far(self, daemon, what, secret, wanted):
        """At the other daemons within five seconds."""
        for other in self.daemons:
            if other is daemon:
                continue
            began = time.monotonic()
            while {other.chat(secret) for _ in range(LOOKS)} != {wanted}:
                if time.monotonic() - began > 5:
                    self.faults.append(f"{what}: not within 5 s at the other daemon")
                    break
            self.far_s.append(time.monotonic() - began)

    # ---- changes

    def change(self, number):
        daemon = self.rng.choice(self.daemons)
        kinds = ["make"] * 4 + (
            ["block", "unblock", "set", "rotate", "grace", "revoke"] * 2 if self.keys else []
        )
        kind = "make" if len(self.keys) < 5 else self.rng.choice(kinds)
        name = f"key/{number} ü" if kind == "make" else self.rng.choice(sorted(self.keys))
        far = self.rng.random() < 0.2
        self.counts[kind] = self.counts.get(kind, 0) + 1
        getattr(self, f"do_{kind}")(daemon, name, far)

    def path(self, name):
        return f"/admin/keys/{quote(name, safe='')}"

    def holds(self, daemon, name, far, what):
        key = self.keys[name]
        wanted = 403 if key["blocked"] else 200
        for secret in filter(None, (key["secret"], key["former"])):
            self.check(daemon, what, secret, wanted)
            if far:
                self.check_far(daemon, what, secret, wanted)

    def gone(self, daemon, secret, far, what):
        self.dead.append(secret)
        self.check(daemon, what, secret, 401)
        if far:
            self.check_far(daemon, what, secret, 401)

    def do_make(self, daemon, name, far):
        status, key = self.admin(daemon, "POST", "/admin/keys", {"name": name, "note": "n"}, shows=True)
        self.expect("make", 201, status)
        self.keys[name] = {"secret": key["key"], "former": None, "blocked": False}
        self.holds(daemon, name, far, "made")
        self.expect("make twice", 409, self.admin(daemon, "POST", "/admin/keys", {"name": name})[0])

    def do_block(self, daemon, name, far, blocked=True):
        status, key = self.admin(daemon, "PATCH", self.path(name), {"blocked": blocked})
        self.expect("block", (200, "blocked" if blocked else "active"), (status, key and key.get("state")))
        self.keys[name]["blocked"] = blocked
        self.holds(daemon, name, far, "blocked" if blocked else "unblocked")

    def do_unblock(self, daemon, name, far):
        self.do_block(daemon, name, far, blocked=False)

    def do_set(self, daemon, name, far):
        limit = self.rng.randrange(1000, 2000)
        document = {"limits": {"requests_per_minute": limit}, "models": ["mock-*"]}
        status, key = self.admin(daemon, "PATCH", self.path(name), document)
        self.expect("set", (200, limit), (status, key and key["limits"].get("requests_per_minute")))
        self.holds(daemon, name, far, "set")

    def do_rotate(self, daemon, name, far, grace_s=0):
        key = self.keys[name]
        status, found = self.admin(
            daemon, "POST", f"{self.path(name)}/rotate", {"grace_s": grace_s}, shows=True
        )
        self.expect("rotate", 200, status)
        old, older = key["secret"], key["former"]
        key["secret"], key["former"] = found["key"], old if grace_s else None
        self.holds(daemon, name, far, "rotated")
        for secret in filter(None, (older, None if grace_s else old)):
            self.gone(daemon, secret, far, "a replaced secret")

    def do_grace(self, daemon, name, far):
        self.do_rotate(daemon, name, far, grace_s=86400)

    def do_revoke(self, daemon, name, far):
        self.expect("revoke", 204, self.admin(daemon, "DELETE", self.path(name))[0])
        key = self.keys.pop(name)
        for secret in filter(None, (key["secret"], key["former"])):
            self.gone(daemon, secret, far, "a revoked key")

    # ---- kill -9 in the middle of a change

    def interrupted(self, number):
        daemon = self.rng.choice(self.daemons)
        name = self.rng.choice(sorted(self.keys))
        kind, document = self.rng.choice(
            [
                ("PATCH", {"blocked": True}),
                ("DELETE", None),
                ("POST", {"name": f"lost {number}"}),
                ("rotate", {}),
            ]
        )
        path = {"POST": "/admin/keys", "rotate": f"{self.path(name)}/rotate"}.get(kind, self.path(name))
        told = []

        def run():
            with contextlib.suppress(OSError, http.client.HTTPException):
                told.append(daemon.ask("POST" if kind == "rotate" else kind, path, document))

        thread = threading.Thread(target=run)
        thread.start()
        time.sleep(self.rng.random() * 0.015)
        whole = self.rng.random() < 0.3
        if whole:
            daemon.kill()
            daemon.start()
        else:
            daemon.kill_worker()
        thread.join()
        self.unknown += not told
        if told:
            self.shown.update(re.findall(r"sk-proxy-[\w-]+", told[0][1]))
        # whatever the outcome is, all must agree from here on
        self.settle(daemon, f"lost {number}" if kind == "POST" else name, bool(told), kind)

    def settle(self, daemon, name, answered, kind):
        time.sleep(0.5)
        status, key = self.admin(daemon, "GET", self.path(name))
        known = self.keys.get(name)
        if status == 404:
            if known is not None:
                self.keys.pop(name)
                for secret in filter(None, (known["secret"], known["former"])):
                    self.gone(daemon, secret, True, f"{kind} that was cut off")
            elif answered and kind == "POST":
                self.faults.append("a key that was confirmed is not there")
            return
        if kind == "DELETE" and answered:
            self.faults.append("a key whose revocation was confirmed is there")
        status, found = self.admin(daemon, "POST", f"{self.path(name)}/rotate", {}, shows=True)
        self.expect("rotate after a kill", 200, status)
        old = self.keys.get(name, {})
        self.keys[name] = {"secret": found["key"], "former": None, "blocked": key["state"] == "blocked"}
        self.holds(daemon, name, True, f"{kind} that was cut off")
        for secret in filter(None, (old.get("secret"), old.get("former"))):
            self.gone(daemon, secret, True, "a replaced secret")

    # ---- the end

    def compare(self, stored):
        """Store, page and effect."""
        for daemon in self.daemons:
            _, page = self.admin(daemon, "GET", "/admin/keys")
            shown = {each["name"]: each["state"] for each in page["data"] if each["source"] == "store"}
            wanted = {name: "blocked" if key["blocked"] else "active" for name, key in self.keys.items()}
            self.expect("the page", wanted, shown)
            self.expect("the store", set(wanted), set(stored))
            for name in self.keys:
                self.holds(daemon, name, False, f"at the end, {name}")
            for secret in random.sample(self.dead, min(len(self.dead), 100)):
                self.check(daemon, "at the end, a dead secret", secret, 401)

    def search(self, directory):
        """No file has a secret that was shown."""
        for path in sorted(each for each in directory.rglob("*") if each.is_file()):
            data = path.read_bytes()
            if b"sk-proxy-" in data and any(secret.encode() in data for secret in self.shown):
                self.faults.append(f"{path} has a secret")


def stored_names(file, redis_port):
    if file is not None:
        with contextlib.closing(sqlite3.connect(file)) as connection:
            return [name for (name,) in connection.execute("SELECT name FROM keys")]
    found = subprocess.run(
        ["redis-cli", "-p", str(redis_port), "--raw", "HKEYS", "openai-proxy:{keys}:records"],
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.splitlines()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--changes", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--store", choices=("sqlite", "redis"), default="sqlite")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    rng = random.Random(options.seed)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # or the daemons would outlive this
    directory = Path(tempfile.mkdtemp(prefix="keys-under-load-"))
    redis, redis_port, file = None, free_port(), None
    daemons = []
    began = time.monotonic()
    try:
        if options.store == "redis":
            (directory / "redis").mkdir()
            redis = subprocess.Popen(
                ["redis-server", "--port", str(redis_port), "--bind", "127.0.0.1", "--appendonly", "yes"],
                cwd=directory / "redis",
                stdout=subprocess.DEVNULL,
            )
            urls = [f"redis://127.0.0.1:{redis_port}"] * 2
        else:
            file = directory / "keys.sqlite3"
            urls = [f"sqlite:{file}"]
        daemons += [Daemon(directory / f"daemon{n}", url, options.workers) for n, url in enumerate(urls)]
        load, trial = Load(daemons, options.clients), Trial(daemons, rng)
        try:
            kills = set(
                rng.sample(range(20, options.changes), min(options.kills, max(0, options.changes - 20)))
            )
            for number in range(options.changes):
                trial.change(number)
                if number in kills:
                    trial.interrupted(number)
        finally:
            load.stop()
        time.sleep(6 if options.store == "redis" else 1.5)
        trial.compare(stored_names(file, redis_port))
        for daemon in daemons:
            daemon.stop()
        trial.search(directory)
    finally:
        for daemon in daemons:
            daemon.kill()
        if redis is not None:
            redis.kill()
            redis.wait()
    print(
        f"seed {options.seed}, {options.store}, {time.monotonic() - began:.0f} s: {options.changes} changes {trial.counts}"
    )
    print(
        f"{options.kills} kills, of which {trial.unknown} left their change unanswered; {len(trial.keys)} keys at the end"
    )
    print(f"load: {load.statuses}, {load.broken} connections lost to kills")
    print(f"{sum(daemon.not_read for daemon in daemons)} answers of workers that had not read the store yet")
    if trial.far_s:
        print(f"at the other daemon after {max(trial.far_s):.2f} s at most, {len(trial.far_s)} looks")
    print(f"{len(trial.shown)} secrets shown, {len(trial.faults)} faults")
    for fault in trial.faults[:20]:
        print(" ", fault)
    bad = {status for status in load.statuses if status != 200}
    if not trial.faults and not bad:
        shutil.rmtree(directory)
        return 0
    print(f"see {directory}")
    return 1


if __name__ == "__main__":
    sys.exit(main())

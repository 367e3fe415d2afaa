"""`python -m soak.reloads [--reloads 200]`, in `tests/`: many reloads in a row, under light load.

With client keys, prices, a log of exchanges, the embedded cache and limits,
which change at each reload. Afterwards memory, objects, timers and
descriptors must be where they were after the first tenth of them. Exits with 1
if something is left.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

from world.daemon import Daemon
from world.waiting import eventually

from .clients import Account, Address, Clients
from .held import OPENED_LATER, Held, calm, held, probing

KINDS = ("plain", "hits", "streams", "leaves", "sockets", "errors")
RELOADED = "configuration reloaded"


def settings(number: int) -> str:
    """Return a configuration that differs from that of every other number."""
    keys = "".join(
        f'[[keys]]\nname = "soak {each}"\nkey = "sk-soak-{each}"\nbudget_usd = {1_000_000 + number}\n'
        for each in range(4)
    )
    return f"""
[limits]
keep_alive_s = {5 + number % 3}.0
[cache]
url = "memory:"
ttl_s = {{ embeddings = {600 + number} }}
[rate_limit]
requests_per_minute = {100_000_000 + number}
tokens_per_minute = 100000000000
concurrent_requests = {1000 + number}
[retry]
max_retries = {number % 2}
[[cost.prices]]
match = "*"
input_usd_per_million = 2.5
output_usd_per_million = {10 + number}.0
{keys}"""


async def _reload(daemon: Daemon, numbers: range) -> None:
    """Reload with the settings of each number, each once the daemon has said that it did the last."""
    for number in numbers:
        said = daemon.log.count(RELOADED)
        (daemon.directory / "openai-proxy.toml").write_text(settings(number))
        daemon.signal(signal.SIGHUP)
        done = await asyncio.to_thread(eventually, lambda said=said: daemon.log.count(RELOADED) > said)
        assert done, daemon.log[-3000:]


async def _loaded(daemon: Daemon, numbers: range, descriptors: int, account: Account) -> Held:
    """Reload under load; return what is held once all clients have gone."""
    clients = Clients(Address(daemon.port, 0, ssl.create_default_context()), account)
    clients.kinds = {kind: clients.kinds[kind] for kind in KINDS}
    clients.kinds["leaves"] = lambda kind: clients.leaves(kind, secure=False)
    clients.until = float("inf")
    load = asyncio.create_task(clients.run(1))
    await _reload(daemon, numbers)
    clients.until = 0.0
    await load
    return await calm(daemon, descriptors)


async def _run(directory: Path, reloads: int) -> list[str]:
    config = directory / "openai-proxy.toml"
    config.write_text(settings(0))
    upstream = subprocess.Popen(
        [sys.executable, "-m", "soak.upstream"], stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]
    )
    account = Account()
    with contextlib.ExitStack() as stack:
        stack.callback(upstream.wait)
        stack.callback(upstream.kill)
        assert upstream.stdout is not None
        daemon = Daemon(
            directory,
            f"http://127.0.0.1:{int(upstream.stdout.readline())}/v1",
            env={**probing(directory), "OPENAI_API_KEY": "sk-upstream"},
            options=["--config", str(config), "-o", "exchange-log:dir=log"],
        )
        stack.callback(daemon.stop)
        first = max(1, reloads // 10)
        warm = await _loaded(daemon, range(1, first + 1), held(daemon).descriptors + OPENED_LATER, account)
        print(f"after {first} reloads: {warm}", flush=True)
        last = first
        for end in (first + reloads // 2, first + reloads):
            now = await _loaded(daemon, range(last + 1, end + 1), warm.descriptors, account)
            last = end
            print(f"after {end} reloads, {account.answered.total()} answers: {now}", flush=True)
        return [*account.wrong, *daemon.defects, *now.grown_since(warm, 10.0)]


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m soak.reloads", description=__doc__)
    options.add_argument("--reloads", type=int, default=200)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        wrong = asyncio.run(_run(Path(directory), chosen.reloads))
    for line in wrong:
        print(f"WRONG: {line}")
    print("nothing is left" if not wrong else f"{len(wrong)} things are wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())

#!/usr/bin/env python3
"""A thousand questions by the real `openai` SDK with a time-out shorter than the answer, in each setup; then 100 kills.

    .venv/bin/python tests/conformance/rejoin_run.py [SETUP ...] [--questions N] [--kills N] [--seed N]

Without a SETUP all of them, one after the other: about an hour. While something is killed the
programs go on asking, above N; a worker is killed once it has settled, or its successor would wait. Prints
a line for each, and exits with 1 if an answer was not whole, if there were
more than 1.02 upstream calls for a question (without kills), or if log,
budget and upstream disagree. Some need redis-server.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import trustme

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from world.retry_books import Rounds, Setup

SETUPS = {
    "plain": Setup(),
    "workers": Setup(workers=2),
    "redis": Setup(workers=2, redis=True),
    "tls": Setup(workers=2, tls=(Path("certificate.pem"), Path("key.pem"))),
    "kill": Setup(kills="daemon"),
    "kill-workers": Setup(workers=4, kills="worker"),
    "kill-redis-daemon": Setup(workers=2, redis=True, kills="daemon"),
    "kill-redis-workers": Setup(workers=4, redis=True, kills="worker"),
    "kill-redis": Setup(workers=2, redis=True, kills="redis"),
}


def certified(setup: Setup, directory: Path) -> Setup:
    """Make the certificate of a setup with TLS."""
    if setup.tls is None:
        return setup
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    chain, key, trusted = (directory / name for name in ("chain.pem", "key.pem", "authority.pem"))
    issued.private_key_pem.write_to_path(str(key))
    for blob in issued.cert_chain_pems:
        blob.write_to_path(str(chain), append=True)
    authority.cert_pem.write_to_path(str(trusted))
    return Setup(setup.workers, setup.redis, (chain, key), setup.kills, trusted)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("setups", nargs="*", metavar="SETUP", help=", ".join(SETUPS))
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    wrong = 0
    for name in given.setups or SETUPS:
        with tempfile.TemporaryDirectory() as directory:
            setup = certified(SETUPS[name], Path(directory))
            kills = given.kills if setup.kills else 0
            books = Rounds(Path(directory), setup, given.seed).run(given.questions, kills, given.at_once)
        print(f"{name}: {books}", flush=True)
        for each in books.wrong[:20]:
            print(" ", each[:1000], flush=True)
        wrong += len(books.wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

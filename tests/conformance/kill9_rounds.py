#!/usr/bin/env python3
"""A hundred rounds of `kill -9` under load against the local exchange log.

    .venv/bin/python tests/conformance/kill9_rounds.py [ROUNDS] [SEED]

Prints one line, and exits with 1 if an answer that a client saw is
missing, twice or torn. About 3 s a round.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from world.kill9 import rounds


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory() as directory:
        result = rounds(Path(directory), count, seed)
    print(result)
    for name in ("missing", "torn", "twice"):
        for each in getattr(result, name)[:10]:
            print(f"{name}: {each}")
    return 0 if result.clean else 1


if __name__ == "__main__":
    sys.exit(main())

"""`python -m fuzz --minutes 60`, in `tests/`: fuzz both edges until the time is over or a difference is found.

A message that shows a difference is written to the corpus, so that the
tests have it from then on.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from random import Random

from .messages import CORPUS
from .run import Counts, Found, run


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    options.add_argument("--minutes", type=float, default=60.0)
    options.add_argument("--seed", type=int, default=int(time.time()))
    chosen = options.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    random, counts, until = Random(chosen.seed), Counts(), time.monotonic() + 60 * chosen.minutes
    differences = 0
    while time.monotonic() < until:
        try:
            run(random, 2_000, counts)
        except Found as found:
            differences += 1
            folder = CORPUS / found.kind
            folder.mkdir(exist_ok=True)
            name = hashlib.sha256(found.raw).hexdigest()[:12]
            (folder / name).write_bytes(found.raw)
            print(f"{found} (kept as {folder / name})", flush=True)
            if differences >= 20:
                break
        if counts.requests % 200_000 < 2_000:
            print(counts, flush=True)
    print(counts, "no difference" if not differences else f"{differences} differences")
    return 1 if differences else 0


if __name__ == "__main__":
    raise SystemExit(main())

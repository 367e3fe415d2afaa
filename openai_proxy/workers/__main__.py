"""The entry point of a worker: `python -m openai_proxy.workers REACTOR NUMBER`.

Started by the supervisor, with the link to it as standard input.
"""

import signal
import sys

if __name__ == "__main__":
    # a terminal sends ^C and hang-up to the whole group: only the supervisor handles them
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    from openai_proxy.workers.worker import run

    run(sys.argv[1], int(sys.argv[2]))

"""`python -m openai_proxy`: the same as the command `openai-proxy`."""

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main())

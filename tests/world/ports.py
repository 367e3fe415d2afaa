"""Ports of loopback that a test names before somebody listens on them."""

from __future__ import annotations

import os
import socket
import weakref

__all__ = ["HeldPort"]


class HeldPort:
    """A port that nobody else is given as long as this object lives, also while nobody listens on it.

    It is bound and never listens, so a server that sets SO_REUSEADDR, as
    nearly all do, may listen on it, end, and come back.
    """

    def __init__(self) -> None:
        with socket.socket() as held:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(("127.0.0.1", 0))
            self.number: int = held.getsockname()[1]
            weakref.finalize(self, os.close, held.detach())

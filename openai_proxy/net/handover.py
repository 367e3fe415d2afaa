"""Pass open sockets from one process to another.

Used by the processes of a daemon: two of them get the ends of a private
connection, whose traffic burdens no other process.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

_NOTE_BYTES = 1024
"""The longest note that is sent with a socket, in bytes."""
_AT_ONCE = 64
"""The most sockets that are received in one turn of the reactor."""


def handover_pair() -> tuple[socket.socket, socket.socket]:
    """Return two sockets, each for one `Handover`. Raise OSError if there are no descriptors left."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)


@implementer(IReadWriteDescriptor)
class Handover:
    """One end: sends sockets to the other end, and receives sockets from it.

    `taken` is called with the note and the socket, which then belongs to it. A
    socket that the other end cannot receive is closed: the peer of that
    connection sees it end.
    """

    def __init__(
        self, reactor: Any, end: socket.socket, taken: Callable[[bytes, socket.socket], object]
    ) -> None:
        self._reactor = reactor
        self._end = end
        self._taken = taken
        self._waiting: deque[tuple[bytes, socket.socket]] = deque()
        self._is_closed = False
        end.setblocking(False)
        reactor.addReader(self)

    def give(self, note: bytes, gift: socket.socket) -> None:
        """Send a socket, now or as soon as the other end can receive it; it is closed here. `note`: up to 1 KiB."""
        if len(note) > _NOTE_BYTES:
            raise ValueError("the note is too long")
        if self._is_closed:
            gift.close()
            return
        self._waiting.append((note, gift))
        if len(self._waiting) == 1:
            self.doWrite()

    def doWrite(self) -> None:
        """Send the waiting sockets."""
        while self._waiting:
            note, gift = self._waiting[0]
            try:
                socket.send_fds(self._end, [note], [gift.fileno()])
            except BlockingIOError:
                self._reactor.addWriter(self)
                return
            except OSError:
                pass  # the other end is gone
            self._waiting.popleft()
            gift.close()
        self._reactor.removeWriter(self)

    def doRead(self) -> None:
        """Receive sockets."""
        for _ in range(_AT_ONCE):
            if self._is_closed:
                return
            try:
                note, descriptors, _, _ = socket.recv_fds(self._end, _NOTE_BYTES, 1)
            except OSError:
                return  # nothing more for now; a lost peer is noticed elsewhere
            for descriptor in descriptors:
                os.set_inheritable(descriptor, False)  # recv_fds does not support the flag for this
                self._taken(note, socket.socket(fileno=descriptor))

    def close(self) -> None:
        """Stop sending and receiving; idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._end.close()
        while self._waiting:
            self._waiting.popleft()[1].close()

    # ---- for the reactor

    def fileno(self) -> int:
        return self._end.fileno()

    def logPrefix(self) -> str:
        return "openai-proxy"

    def connectionLost(self, reason: Failure) -> None:
        self.close()

"""Facts about transports that Twisted's interfaces do not tell.

How much of what was written the peer has not taken yet. Linux has the
kernel's part of the answer (SIOCOUTQ); elsewhere only our own buffer counts.
"""

from __future__ import annotations

import fcntl
import struct
import termios
from typing import Any


def untaken_bytes(transport: Any) -> int:
    """Return the bytes written to `transport` that the peer has not acknowledged.

    Counts Twisted's buffer and the kernel's send queue of the connection at
    the bottom of any TLS or wrapper. 0 where nothing can be known.
    """
    raw = transport
    while getattr(raw, "socket", None) is None:
        inner = getattr(raw, "transport", None) or getattr(raw, "wrappedTransport", None)
        if inner is None or inner is raw:
            return 0
        raw = inner
    # FileDescriptor has no public word for this: what it joined, less what it sent, plus what waits.
    buffered = len(raw.dataBuffer) - raw.offset + getattr(raw, "_tempDataLen", 0)
    try:
        queued = struct.unpack("i", fcntl.ioctl(raw.socket.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
    except (OSError, ValueError):
        queued = 0
    return int(buffered + queued)

"""What Twisted's transports do not tell or do, asked of their sockets.

How much of what was written the peer has not taken yet (Linux has the
kernel's part of the answer, SIOCOUTQ), whether it is gone, and a reset
without delay. Used by both edges.
"""

from __future__ import annotations

import fcntl
import select
import struct
import termios
from typing import Any

from twisted.internet import tcp
from twisted.protocols.tls import BufferingTLSTransport

from .eager_transports import EagerTransport


def bottom(transport: Any) -> Any:
    """Return the transport with the socket, below any TLS or wrapper; None where there is none."""
    raw = transport
    # Not by asking for a `socket`: wrappers answer for the transport below them.
    while not isinstance(raw, tcp.Connection):
        inner = getattr(raw, "transport", None) or getattr(raw, "wrappedTransport", None)
        if inner is None or inner is raw:
            return None
        raw = inner
    return raw


def authorities(transport: Any, default_port: int) -> frozenset[bytes]:
    """Return the names under which an absolute-form target may call this end, with its port and, by default, without."""
    host = transport.getHost()
    port = getattr(host, "port", None)
    if port is None:
        return frozenset((b"localhost",))
    address = getattr(host, "host", "127.0.0.1")
    names = {address.encode("ascii"), b"localhost", b"127.0.0.1", b"[::1]"}
    if ":" in address:
        names.add(f"[{address}]".encode("ascii"))
    with_port = frozenset(b"%b:%d" % (name, port) for name in names)
    return with_port | names if port == default_port else with_port


def listens_on_loopback(transport: Any) -> bool:
    """Whether a server's connection came in by a TCP port that is bound to a loopback address.

    Only programs of this machine reach such a port, a browser among them.
    """
    server = getattr(bottom(transport), "server", None)
    host = getattr(server.getHost(), "host", "") if server is not None else ""
    return host.startswith("127.") or host in ("::1", "::ffff:127.0.0.1")


def untaken_bytes(transport: Any) -> int:
    """Return the bytes written to `transport` that the peer has not acknowledged.

    Counts what is put off, Twisted's buffer and the kernel's send queue of
    the connection at the bottom of any TLS or wrapper. 0 where nothing can be
    known.
    """
    raw = bottom(transport)
    if raw is None:
        return 0
    # FileDescriptor has no public word for this: what it joined, less what it sent, plus what waits.
    buffered = len(raw.dataBuffer) - raw.offset + getattr(raw, "_tempDataLen", 0)
    if isinstance(raw, EagerTransport):
        buffered += raw.put_off_bytes()
    try:
        queued = struct.unpack("i", fcntl.ioctl(raw.socket.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
    except (OSError, ValueError):
        queued = 0
    return int(buffered + queued)


def is_gone(transport: Any, *, half_close: bool) -> bool:
    """Whether the peer has reset the connection, asked of the kernel.

    With `half_close`: or has said that it sends no more, be it behind bytes
    that are still unread. A transport that is paused and has nothing to
    write is in no epoll set: Twisted would hear of either only when it
    reads on.
    """
    raw = bottom(transport)
    if raw is None:
        return False
    poll = select.poll()
    wanted = select.POLLRDHUP if half_close else 0
    poll.register(raw.socket.fileno(), wanted)
    return any(events & (select.POLLERR | select.POLLHUP | wanted) for _, events in poll.poll(0))


def is_quiet(transport: Any) -> bool:
    """Whether nothing has come from the peer that is still unread: no byte, no end, no reset.

    True where nothing can be known.
    """
    raw = bottom(transport)
    if raw is None:
        return True
    poll = select.poll()
    poll.register(raw.socket.fileno(), select.POLLIN)
    return not poll.poll(0)


def cut(transport: Any) -> None:
    """Reset the connection at once: nothing that was not sent goes out any more.

    Over TLS not even close_notify, which Twisted writes first and an
    eager transport would send: it says that what came before it is whole.
    """
    below = transport.transport if type(transport) is BufferingTLSTransport else None
    if isinstance(below, tcp.Connection):
        below.write = _forget
    transport.abortConnection()


def _forget(data: bytes) -> None:
    """Take the place of a transport's `write` once nothing may be sent."""

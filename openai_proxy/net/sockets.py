"""What Twisted's transports do not tell or do, asked of their sockets.

How much of what was written the peer has not taken yet (Linux has the
kernel's part of the answer, SIOCOUTQ), whether it is gone, and a reset
without delay. Used by both edges.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
from contextlib import suppress
from typing import Any

try:
    import fcntl
    import termios
except ImportError:  # what they tell is a refinement: the proxy runs without it
    fcntl = termios = None  # type: ignore[assignment]

from twisted.internet import tcp

from .eager_transports import EagerTransport

_SO_NWRITE = 0x1024
"""Of macOS, which has no SIOCOUTQ: bytes in the send queue. Python does not name it."""


def bottom(transport: Any) -> Any:
    """Return the transport with the socket, below any TLS or wrapper; None if there is none."""
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
    the connection at the bottom of any TLS or wrapper. 0 if nothing can be
    known.
    """
    raw = bottom(transport)
    if raw is None:
        return 0
    # FileDescriptor has no public word for this: what it joined, less what it sent, plus what waits.
    buffered = len(raw.dataBuffer) - raw.offset + raw._tempDataLen
    if isinstance(raw, EagerTransport):
        buffered += raw.put_off_bytes()
    return int(buffered + _queued_bytes(raw.socket))


def _queued_bytes(sock: socket.socket) -> int:
    """Return the size in bytes of the kernel's send queue; 0 if the system does not tell it."""
    try:
        if sys.platform == "darwin":
            return sock.getsockopt(socket.SOL_SOCKET, _SO_NWRITE)
        if fcntl is None:
            return 0
        queued: int = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
        return queued
    except (OSError, ValueError):
        return 0


def has_unread(transport: Any) -> bool:
    """Whether the kernel has bytes of the peer's that nobody has read yet."""
    raw = bottom(transport)
    if raw is None:
        return False
    try:
        return bool(raw.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except (OSError, ValueError):
        return False


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
    wanted = getattr(select, "POLLRDHUP", None)  # Linux only
    if wanted is None:
        return _peek_says_gone(raw.socket, half_close)
    poll = select.poll()
    poll.register(raw.socket.fileno(), wanted if half_close else 0)
    gone = select.POLLERR | select.POLLHUP | (wanted if half_close else 0)
    return any(events & gone for _, events in poll.poll(0))


def _peek_says_gone(sock: socket.socket, half_close: bool) -> bool:
    """As `is_gone`, on systems that do not tell a half-close: an end behind unread bytes stays unseen."""
    try:
        return not sock.recv(1, socket.MSG_PEEK) and half_close
    except (BlockingIOError, InterruptedError):
        return False
    except OSError:
        return True


def keep_alive(transport: Any, idle_s: int) -> None:
    """Have the kernel ask a silent peer whether it is there, after `idle_s` seconds and then three times.

    A peer that vanished is noticed within twice `idle_s`. Does nothing for
    what is no TCP connection.
    """
    raw = bottom(transport)
    if raw is None or raw.socket.family not in (socket.AF_INET, socket.AF_INET6):
        return
    between_s = max(1, idle_s // 3)
    # TCP_KEEPALIVE is what macOS calls TCP_KEEPIDLE
    idle = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)
    wanted = (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, idle, idle_s),
        (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPINTVL", None), between_s),
        (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPCNT", None), 3),
    )
    for level, name, value in wanted:
        if name is not None:
            with suppress(OSError):  # the peer may be gone already
                raw.socket.setsockopt(level, name, value)


def is_quiet(transport: Any) -> bool:
    """Whether nothing has come from the peer that is still unread: no byte, no end, no reset.

    True if nothing can be known.
    """
    raw = bottom(transport)
    if raw is None:
        return True
    poll = select.poll()
    poll.register(raw.socket.fileno(), select.POLLIN)
    return not poll.poll(0)


def cut(transport: Any) -> None:
    """Reset the connection at once: nothing that was not sent goes out any more, over TLS no close_notify either."""
    transport.abortConnection()

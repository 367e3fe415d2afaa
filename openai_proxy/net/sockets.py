"""Socket facts and actions that Twisted hides: bytes in flight, peer liveness, immediate reset.

These are: how much of the written data the peer has not acknowledged (on Linux
the kernel's part is SIOCOUTQ), whether the peer is gone, and a reset without
delay. Used by both edges.
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
except ImportError:  # a refinement only: the proxy runs without it
    fcntl = termios = None  # type: ignore[assignment]

from twisted.internet import tcp

from .eager_transports import EagerTransport

_SO_NWRITE = 0x1024
"""The socket option of macOS, which has no SIOCOUTQ, for the bytes in the send queue; Python has no name for it."""


def bottom(transport: Any) -> Any:
    """Return the transport with the socket, below any TLS or wrapper; None if there is none."""
    raw = transport
    # Not by looking for `socket`, because wrappers delegate attributes to the transport below them.
    while not isinstance(raw, tcp.Connection):
        inner = getattr(raw, "transport", None) or getattr(raw, "wrappedTransport", None)
        if inner is None or inner is raw:
            return None
        raw = inner
    return raw


def authorities(transport: Any, default_port: int) -> frozenset[bytes]:
    """Return the authorities that absolute-form targets may have here, with the port and, by default, without."""
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
    """Return whether a server's connection was accepted by a TCP port on a loopback address.

    Only programs on this machine can reach such a port, including browsers.
    """
    server = getattr(bottom(transport), "server", None)
    host = getattr(server.getHost(), "host", "") if server is not None else ""
    return host.startswith("127.") or host in ("::1", "::ffff:127.0.0.1")


def untaken_bytes(transport: Any) -> int:
    """Return the bytes written to `transport` that the peer has not acknowledged.

    Counts deferred data, Twisted's buffer and the kernel's send queue of the
    connection at the bottom of any TLS or wrapper. 0 if that is unknown.
    """
    raw = bottom(transport)
    if raw is None:
        return 0
    # FileDescriptor has no public name for this: the joined buffer, less the sent part, plus the waiting writes.
    buffered = len(raw.dataBuffer) - raw.offset + raw._tempDataLen
    if isinstance(raw, EagerTransport):
        buffered += raw.put_off_bytes()
    return int(buffered + _queued_bytes(raw.socket))


def _queued_bytes(sock: socket.socket) -> int:
    """Return the size in bytes of the kernel's send queue; 0 if the system does not report it."""
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
    """Return whether the kernel has unread bytes from the peer."""
    raw = bottom(transport)
    if raw is None:
        return False
    try:
        return bool(raw.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except (OSError, ValueError):
        return False


def is_gone(transport: Any, *, half_close: bool) -> bool:
    """Return whether the peer has reset the connection, according to the kernel.

    With `half_close`, also whether it has ended its sending side, even if there
    are unread bytes before that. A transport that is paused and has nothing to
    write is in no epoll set: Twisted would notice either only when it reads
    again.
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
    """As `is_gone`, on systems that do not report a half-close: an end after unread bytes stays unnoticed."""
    try:
        return not sock.recv(1, socket.MSG_PEEK) and half_close
    except (BlockingIOError, InterruptedError):
        return False
    except OSError:
        return True


def keep_alive(transport: Any, idle_s: int) -> None:
    """Make the kernel probe a silent peer after `idle_s` seconds and then three times.

    A peer that vanished is noticed within twice `idle_s`. Does nothing for a
    connection that is not TCP.
    """
    raw = bottom(transport)
    if raw is None or raw.socket.family not in (socket.AF_INET, socket.AF_INET6):
        return
    between_s = max(1, idle_s // 3)
    # macOS calls TCP_KEEPIDLE TCP_KEEPALIVE
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
    """Return whether nothing unread has come from the peer: no byte, no end, no reset.

    True if that is unknown.
    """
    raw = bottom(transport)
    if raw is None:
        return True
    poll = select.poll()
    poll.register(raw.socket.fileno(), select.POLLIN)
    return not poll.poll(0)


def cut(transport: Any) -> None:
    """Reset the connection at once: no unsent data is sent any more, and over TLS no close_notify either."""
    transport.abortConnection()

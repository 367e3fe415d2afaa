"""Many sockets with one entry in the reactor, served in batches.

Twisted's reactors make a logging context for every event of every socket, which
costs as much as reading from it. The sockets of this proxy's connections are in
a separate epoll set instead, which is one reader of the reactor: when any of
them is ready, all that are ready are served in one event. For the transports it
is the reactor; everything else they request is passed to the real one. It
relies only on IReactorFDSet and IReadDescriptor, so it works under any reactor
of Linux. If the system has no epoll (macOS, the BSDs), every socket stays with
the reactor that accepted it. Used by both edges.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableDescriptor, IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from ..logs import logger
from .eager_transports import EagerClient, EagerTransport, PutOff, become_eager
from .sockets import bottom

log = logger(__name__)

IN, OUT = 1, 4
GONE = 8 | 16
"""EPOLLIN, EPOLLOUT, and EPOLLERR with EPOLLHUP: `select` has these names only on Linux."""
BATCH = 512
"""The number of events served before the reactor's other readers and timers get their turn."""
READ_BYTES = 1 << 16
TOGETHER_BYTES = 1 << 20
"""The bytes read before any are processed, with ROOM_EACH_BYTES for each socket: at most 32 sockets."""
ROOM_EACH_BYTES = 1 << 15


@implementer(IReactorFDSet, IReadDescriptor)
class SocketGroup:
    """States: empty, open (from the first `adopt` on), closed (`connectionLost`)."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._make_epoll: Callable[[], Any] | None = getattr(select, "epoll", None)
        self._epoll: Any = None
        self._members: dict[int, Any] = {}
        self._masks: dict[int, int] = {}
        self.unsent: dict[EagerTransport, PutOff] = {}
        """Transports whose writes wait for the end of this batch, in the order of their first writes."""
        self.serving = False
        """Whether a batch is being served: then writes wait for its end."""
        self._before_sending: list[Callable[[], None]] = []

    def __getattr__(self, name: str) -> Any:
        """Return what else a transport requests of its reactor: timers, name look-ups."""
        return getattr(self._reactor, name)

    def adopt(self, transport: Any) -> None:
        """Serve the connected, reading socket below `transport` from here on.

        A transport without a socket (in memory), or one that another reactor
        serves, stays unchanged; so does everything on a system without epoll.
        """
        if self._make_epoll is None:
            return
        socket = bottom(transport)
        if socket is None or socket.reactor is not self._reactor:
            return
        if self._epoll is None:
            self._epoll = self._make_epoll()
            self._reactor.addReader(self)
        socket.stopReading()
        socket.reactor = self  # for a transport, this is the reactor
        become_eager(socket)
        socket.startReading()

    # ---- IReactorFDSet, for the transports

    def addReader(self, reader: Any) -> None:
        self._watch(reader, IN)

    def addWriter(self, writer: Any) -> None:
        self._watch(writer, OUT)

    def removeReader(self, reader: Any) -> None:
        self._leave(reader, IN)

    def removeWriter(self, writer: Any) -> None:
        self._leave(writer, OUT)

    def removeAll(self) -> list[Any]:
        members = list(self._members.values())
        for member in members:
            self._leave(member, IN | OUT)
        return members

    def getReaders(self) -> list[Any]:
        return [member for number, member in self._members.items() if self._masks[number] & IN]

    def getWriters(self) -> list[Any]:
        return [member for number, member in self._members.items() if self._masks[number] & OUT]

    def _watch(self, member: Any, event: int) -> None:
        number = member.fileno()
        before = self._masks.get(number, 0)
        if before & event:
            return
        if before:
            self._epoll.modify(number, before | event)
        else:
            self._epoll.register(number, event)
            self._members[number] = member
        self._masks[number] = before | event

    def _leave(self, member: Any, event: int) -> None:
        number = member.fileno()
        if self._members.get(number) is not member:
            return
        after = self._masks[number] & ~event
        if after:
            self._epoll.modify(number, after)
            self._masks[number] = after
        else:
            self._epoll.unregister(number)
            del self._members[number], self._masks[number]

    # ---- IReadDescriptor, for the reactor

    def fileno(self) -> int:
        return -1 if self._epoll is None else int(self._epoll.fileno())

    def logPrefix(self) -> str:
        return "-"

    def doRead(self) -> None:
        """Serve every socket that is ready."""
        ready = self._epoll.poll(0, BATCH)
        if len(ready) == 1:  # its writes need not wait
            self._serve(*ready[0])
            return
        events = iter(ready)
        while self._serve_together(events):
            pass

    def _serve_together(self, events: Iterator[tuple[int, int]]) -> bool:
        """Read from many sockets, process the data, make the calls that were scheduled before sending, and
        send.

        Returns whether there may be more.

        A processor that runs the same code for one socket after another has it
        in its caches, and predicts its branches: that takes a fifth less time
        than reading, processing and sending for each in turn. Ends come first,
        then answers, then requests, so that a broken idle connection is noticed
        before a request may get it.
        """
        members = self._members
        answers: list[tuple[Any, bytes]] = []
        requests: list[tuple[Any, bytes]] = []
        room_bytes = TOGETHER_BYTES
        self.serving = True
        try:
            for number, event in events:
                member = members.get(number)
                if event != IN or not isinstance(member, EagerTransport):
                    self._serve(number, event)
                    continue
                try:
                    data = member.socket.recv(READ_BYTES)
                except BlockingIOError:
                    continue
                except OSError:
                    self._disconnect(member, ConnectionLost(), True)
                    continue
                if not data:
                    self._disconnect(member, ConnectionDone(), True)
                    continue
                (answers if type(member) is EagerClient else requests).append((member, data))
                room_bytes -= len(data) + ROOM_EACH_BYTES
                if room_bytes <= 0:
                    break
            answers += requests
            for member, data in answers:
                # A socket served before it may have closed it.
                if member.connected and not member.disconnecting and not member._aborting:
                    try:
                        member.protocol.dataReceived(data)
                    except Exception as error:
                        log.failure("defect while serving a socket")
                        self._disconnect(member, error, True)
        finally:
            self.begin_sending()
            self.serving = False
            self._send_put_off()
        return room_bytes <= 0

    def before_sending(self, call: Callable[[], None]) -> bool:
        """Schedule `call` between processing this batch and sending its writes; return False outside a batch.

        The same work for many sockets takes half the time if it is done in a row.
        """
        if self.serving:
            self._before_sending.append(call)
        return self.serving

    def begin_sending(self) -> None:
        """Make the calls that were scheduled before sending."""
        while self._before_sending:
            calls, self._before_sending = self._before_sending, []
            for call in calls:
                try:
                    call()
                except Exception:
                    log.failure("defect before sending")

    def _send_put_off(self) -> None:
        for member in tuple(self.unsent):
            try:
                member.send_put_off()
            except Exception as error:
                log.failure("defect while serving a socket")
                self._disconnect(member, error, False)

    def _serve(self, number: int, event: int) -> None:
        """Read from and write to one socket, as a reactor does."""
        member = self._members.get(number)
        if member is None:
            return  # a socket served before it closed this one
        in_read = False
        try:
            if event == IN:  # nearly always
                in_read = True
                why: BaseException | None = member.doRead()
            elif event & GONE and not event & IN:
                in_read = bool(self._masks[number] & IN)
                why = ConnectionDone() if in_read else ConnectionLost()
            else:
                why = None
                if event & IN:
                    in_read = True
                    why = member.doRead()
                if why is None and event & OUT:
                    in_read = False
                    self.begin_sending()
                    why = member.doWrite()
        except Exception as error:
            log.failure("defect while serving a socket")
            why = error
        if why is not None:
            self._disconnect(member, why, in_read)

    def _disconnect(self, member: Any, why: BaseException, in_read: bool) -> None:
        """Tell a transport that its peer is gone, as a reactor does."""
        self._leave(member, IN)
        half = in_read and isinstance(why, ConnectionDone) and IHalfCloseableDescriptor.providedBy(member)
        try:
            if half:
                member.readConnectionLost(Failure(why))
            else:
                self._leave(member, OUT)
                member.connectionLost(Failure(why))
        except Exception:
            log.failure("defect while closing a socket")

    def connectionLost(self, reason: Failure) -> None:
        """End every socket here, because the reactor ends."""
        for member in self.removeAll():
            try:
                member.connectionLost(reason)
            except Exception:
                log.failure("defect while closing a socket")
        if self._epoll is not None:
            self._epoll.close()
            self._epoll = None

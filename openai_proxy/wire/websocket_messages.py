"""Parse the messages of a WebSocket as their bytes come (RFC 6455). Pure.

Reading only: the original bytes are forwarded, with mask and fragmentation.
wsproto parses frames and messages, and makes the few that this proxy sends
itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from wsproto.frame_protocol import FrameDecoder, FrameProtocol, MessageDecoder, Opcode, ParseFailed

UNSUPPORTED_DATA, POLICY_VIOLATION, MESSAGE_TOO_BIG = 1003, 1008, 1009
GOING_AWAY, INTERNAL_ERROR, SERVICE_RESTART, TRY_AGAIN_LATER = 1001, 1011, 1012, 1013
FRAME_OVERHEAD = 16
"""The overhead per byte of a message, as each byte may come in a frame of its own: the longest head and more."""
_LEAST_RAW_BYTES = 1024


class BrokenFrames(Exception):
    """The bytes are no WebSocket, or a message is not accepted; `code` is the close code, `args` have the reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Piece(NamedTuple):
    """A frame, or a part of a long one."""

    opcode: int
    """For data, the opcode of the message, whichever of its frames this is."""
    payload: bytes
    ends_message: bool
    end: int
    """The number of bytes of this direction up to the end of this piece."""

    @property
    def is_control(self) -> bool:
        return bool(self.opcode & 0x08)


class FrameReader:
    """The frames of one direction: `feed` input, then call `next` until it returns None.

    `masked`: they come from a client, which masks; otherwise from a server,
    which must not. Checks the rules of RFC 6455 for frames and for the text in
    them, and holds at most a control frame and the head of a frame.
    """

    def __init__(self, masked: bool) -> None:
        self._frames = FrameDecoder(client=not masked)
        self._messages = MessageDecoder()
        self._fed = 0
        self._kind: int | None = None
        self._inside_frame = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._fed += len(data)
        self._frames.receive_bytes(data)

    def next(self) -> Piece | None:
        """Return the next piece, None if more must come. Raises BrokenFrames."""
        try:
            frame = self._frames.process_buffer()
            if frame is None:
                return None
            payload = bytes(frame.payload)  # type: ignore[arg-type]  # the frame decoder returns bytes
            end = self._fed - len(self._frames.buffer)
            if frame.opcode.iscontrol():
                return Piece(frame.opcode, payload, True, end)
            frame = self._messages.process_frame(frame)
        except ParseFailed as error:
            raise BrokenFrames(int(error.code), str(error)) from None
        self._kind = None if frame.message_finished else frame.opcode
        self._inside_frame = not frame.frame_finished
        return Piece(frame.opcode, payload, frame.message_finished, end)

    @property
    def is_inside_frame(self) -> bool:
        """Whether the last piece was a part of a frame that continues."""
        return self._inside_frame

    @property
    def is_inside_message(self) -> bool:
        """Whether the message of the last piece continues."""
        return self._kind is not None

    @property
    def is_between_messages(self) -> bool:
        """Whether a message of another sender could be inserted here."""
        return self._kind is None and self.is_between_frames

    @property
    def is_between_frames(self) -> bool:
        """Whether a control frame of another sender could be inserted here."""
        return not self._inside_frame and not len(self._frames.buffer) and self._frames.header is None


class Whole(NamedTuple):
    """A control frame, or a data message with all of its frames."""

    raw: bytes
    """The original bytes."""
    opcode: int
    data: bytes
    """The text of a text message; empty for binary ones, which are not read."""

    @property
    def is_control(self) -> bool:
        return bool(self.opcode & 0x08)

    @property
    def is_text(self) -> bool:
        return self.opcode == Opcode.TEXT

    @property
    def is_close(self) -> bool:
        return self.opcode == Opcode.CLOSE


PART = Whole(b"", -1, b"")
"""Returned if a message is not whole after BURST_PIECES: there is more to read, after others had their turn."""
BURST_PIECES = 500


class ClientMessages:
    """Returns a client's messages: each once it is whole, control frames at once, also between fragments.

    A message of more than `message_bytes`, or of that many bytes in absurdly
    many frames, raises BrokenFrames. `hold` is called with the growth of the
    held bytes; if it returns False, BrokenFrames is raised too.
    """

    def __init__(self, message_bytes: int, hold: Callable[[int], bool] = lambda size: True) -> None:
        self._reader = FrameReader(masked=True)
        self._message_bytes = message_bytes
        self._raw_bytes = max(_LEAST_RAW_BYTES, FRAME_OVERHEAD * message_bytes)
        self._hold = hold
        self._unread = bytearray()
        self._unread_from = 0
        self._raw = bytearray()
        self._text = bytearray()
        self._size = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._unread += data
        self._reader.feed(data)

    def next(self) -> Whole | None:
        """Return the next whole one, None if more must come, PART if it takes long. Raises BrokenFrames."""
        for _ in range(BURST_PIECES):
            piece = self._reader.next()
            if piece is None:
                return None
            size = piece.end - self._unread_from
            raw = self._unread[:size]
            del self._unread[:size]
            self._unread_from = piece.end
            if piece.is_control:
                return Whole(bytes(raw), piece.opcode, b"")
            self._keep(piece, raw)
            if piece.ends_message:
                whole = Whole(bytes(self._raw), piece.opcode, bytes(self._text))
                self._raw, self._text, self._size = bytearray(), bytearray(), 0
                return whole
        return PART

    def _keep(self, piece: Piece, raw: bytearray) -> None:
        self._size += len(piece.payload)
        if self._size > self._message_bytes or len(self._raw) + len(raw) > self._raw_bytes:
            raise BrokenFrames(
                MESSAGE_TOO_BIG,
                f"a message may have {self._message_bytes} bytes (websocket.message_bytes)",
            )
        is_text = piece.opcode == Opcode.TEXT
        if not self._hold(len(raw) + (len(piece.payload) if is_text else 0)):
            raise BrokenFrames(TRY_AGAIN_LATER, "too many bytes are held (limits.buffered_bytes)")
        self._raw += raw
        if is_text:
            self._text += piece.payload


class ServerMessages:
    """Reads a server's messages as they pass: only the text of the message that is arriving is held.

    The text of a message with more than `message_bytes`, or one that `hold` has
    no room for, is not read.
    """

    broken: BrokenFrames | None = None
    """Why the bytes after the last whole frame are no WebSocket; then nothing more can be read."""
    whole_bytes = 0
    """In that case, the number of bytes of the last read before the error. Below 0 if it began in an earlier read."""

    def __init__(
        self,
        message_bytes: int,
        hold: Callable[[int], bool] = lambda size: True,
        free: Callable[[], None] = lambda: None,
    ) -> None:
        self._reader = FrameReader(masked=False)
        self._message_bytes = message_bytes
        self._hold = hold
        self._free = free
        self._text = bytearray()
        self._skips = False
        self._passed = 0
        self._whole = 0

    def read(self, data: bytes) -> list[tuple[int, bytes | None]]:
        """Return the offset in `data` of each message's end, with its text; also for control frames between messages.

        The text is None if it was not read, and for messages that are not text.
        See `broken` afterwards.
        """
        self._reader.feed(data)
        ends: list[tuple[int, bytes | None]] = []
        try:
            self._read(ends)
        except BrokenFrames as error:
            self.broken = error
            self.whole_bytes = self._whole - self._passed
            self._forget()
        self._passed += len(data)
        return ends

    def _read(self, ends: list[tuple[int, bytes | None]]) -> None:
        reader = self._reader
        while (piece := reader.next()) is not None:
            self._whole = piece.end
            if piece.opcode == Opcode.TEXT:
                self._keep(piece.payload)
            if piece.ends_message:
                text = None
                if piece.opcode == Opcode.TEXT:
                    text = None if self._skips else bytes(self._text)
                    self._forget()
                if not reader.is_inside_message:
                    ends.append((piece.end - self._passed, text))

    def _keep(self, payload: bytes) -> None:
        if self._skips:
            return
        if len(self._text) + len(payload) > self._message_bytes or not self._hold(len(payload)):
            self._forget()
            self._skips = True
        else:
            self._text += payload

    def _forget(self) -> None:
        self._text = bytearray()
        self._skips = False
        self._free()

    @property
    def is_between_messages(self) -> bool:
        """Whether a message of this proxy could follow the bytes that were read, without the broken ones."""
        return self.is_between_frames and not self._reader.is_inside_message

    @property
    def is_between_frames(self) -> bool:
        """Whether a control frame of this proxy could follow them."""
        if self.broken is not None:
            return self.whole_bytes >= 0 and not self._reader.is_inside_frame
        return self._reader.is_between_frames


def text_frame(text: bytes) -> bytes:
    """Return a text message as a server sends it."""
    return bytes(FrameProtocol(client=False, extensions=[]).send_data(text.decode("utf-8"), fin=True))


def close_frame(code: int, reason: str, masked: bool = False) -> bytes:
    """Return a frame that closes a connection; `masked` as a client sends it."""
    return bytes(FrameProtocol(client=masked, extensions=[]).close(code, reason))

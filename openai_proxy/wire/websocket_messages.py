"""The messages of a WebSocket, read as their bytes come (RFC 6455). Pure.

Read only: what passes on is the bytes as they came, mask and fragmentation
included. wsproto takes frames and messages apart, and makes the few that
this proxy sends itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from wsproto.frame_protocol import FrameDecoder, FrameProtocol, MessageDecoder, Opcode, ParseFailed

PROTOCOL_ERROR, UNSUPPORTED_DATA, POLICY_VIOLATION, MESSAGE_TOO_BIG = 1002, 1003, 1008, 1009
GOING_AWAY, INTERNAL_ERROR, SERVICE_RESTART, TRY_AGAIN_LATER = 1001, 1011, 1012, 1013
FRAME_OVERHEAD = 16
"""Of a message of so many bytes: the longest head of a frame and more, for each byte of it may come in a frame."""
_LEAST_RAW_BYTES = 1024


class BrokenFrames(Exception):
    """The bytes are no WebSocket, or a message is not taken; `code` is what to close with, `args` say why."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Piece(NamedTuple):
    """A frame, or a part of a long one."""

    opcode: int
    """That of the message for data, whatever frame of it this is."""
    payload: bytes
    ends_frame: bool
    ends_message: bool
    end: int
    """How many bytes have come in this direction up to the end of this piece."""

    @property
    def is_control(self) -> bool:
        return bool(self.opcode & 0x08)


class FrameReader:
    """The frames of one direction: `feed` what came, then `next` until it returns None.

    `masked`: they come from a client, which masks, else from a server, which
    must not. Checks what RFC 6455 asks of frames and of the text in them, and
    holds at most a control frame and the head of a frame.
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
            payload = bytes(frame.payload)  # type: ignore[arg-type]  # the frame decoder gives bytes
            end = self._fed - len(self._frames.buffer)
            if frame.opcode.iscontrol():
                return Piece(frame.opcode, payload, True, True, end)
            frame = self._messages.process_frame(frame)
        except ParseFailed as error:
            raise BrokenFrames(int(error.code), str(error)) from None
        self._kind = None if frame.message_finished else frame.opcode
        self._inside_frame = not frame.frame_finished
        return Piece(frame.opcode, payload, frame.frame_finished, frame.message_finished, end)

    @property
    def is_inside_frame(self) -> bool:
        """Whether the last piece was a part of a frame of which more must follow."""
        return self._inside_frame

    @property
    def is_inside_message(self) -> bool:
        """Whether more frames of the same message must follow the last piece."""
        return self._kind is not None

    @property
    def is_between_messages(self) -> bool:
        """Whether a message of another sender could stand here."""
        return self._kind is None and self.is_between_frames

    @property
    def is_between_frames(self) -> bool:
        """Whether a control frame of another sender could stand here."""
        return not self._inside_frame and not len(self._frames.buffer) and self._frames.header is None


class Whole(NamedTuple):
    """A control frame, or a data message with all of its frames."""

    raw: bytes
    """As it came."""
    opcode: int
    data: bytes
    """A text message's; empty for binary ones, which nobody reads."""

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
"""In the place of a message that is not whole after BURST_PIECES: there is more to read, after others had their turn."""
BURST_PIECES = 500


class ClientMessages:
    """What a client sends: each message once it is whole, control frames at once, also between fragments.

    A message of more than `message_bytes`, or of that many bytes in absurdly
    many frames, raises BrokenFrames. `hold` is asked for room for what is
    held, by how many bytes it grew; where it has none, BrokenFrames too.
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
        """Return what is whole next, None if more must come, PART if it takes long. Raises BrokenFrames."""
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
    """What a server sends, read along: nothing of it is held but the text of the message that is arriving.

    That of one with more than `message_bytes`, or that `hold` has no room
    for, is not read.
    """

    broken: BrokenFrames | None = None
    """Why what follows the last whole frame is no WebSocket; then nothing more can be read."""
    whole_bytes = 0
    """Then: so much of the data that was read last comes before it. Below 0 if an earlier read had a part of it."""

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
        """Return where in `data` each message ends, with its text; control frames between messages too.

        None stands for a text that was not read and for what is no text. See
        `broken` afterwards.
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
        """Whether a message of ours could stand behind what was read, without what is broken."""
        return self.is_between_frames and not self._reader.is_inside_message

    @property
    def is_between_frames(self) -> bool:
        """Whether a control frame of ours could stand there."""
        if self.broken is not None:
            return self.whole_bytes >= 0 and not self._reader.is_inside_frame
        return self._reader.is_between_frames


def text_frame(text: bytes) -> bytes:
    """Return a text message as a server sends it."""
    return bytes(FrameProtocol(client=False, extensions=[]).send_data(text.decode("utf-8"), fin=True))


def close_frame(code: int, reason: str, masked: bool = False) -> bytes:
    """Return a frame that closes a connection; `masked` as a client sends it."""
    return bytes(FrameProtocol(client=masked, extensions=[]).close(code, reason))

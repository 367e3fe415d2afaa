"""Frames, messages and events of WebSockets."""

from __future__ import annotations

from adversarial.cases.registry import JSONS, case, rep, text

TINY, EMPTY = b"\x00\x81\x00\x00\x00\x00x", b"\x00\x80\x00\x00\x00\x00"
FRAMES = (
    rep(TINY, b"\x01" + TINY[1:]),
    rep(EMPTY, b"\x01" + EMPTY[1:]),
    rep(b"\x89\x80\x00\x00\x00\x00"),
    rep(b"\x81" + TINY[1:]),
    lambda size: b"\x81\xff" + size.to_bytes(8, "big") + bytes(4) + b"x" * size,
)
"""A client's: tiny and empty fragments, pings, messages of one byte, one long message."""


def unmasked(make):
    """Return the same as a server sends it, as far as the frames go."""
    return lambda size: (
        make(size).replace(b"\x81\x00\x00\x00\x00", b"\x01").replace(b"\x80\x00\x00\x00\x00", b"\x00")
    )


def framed(make, read):
    """Feed bytes in reads of 1000, and read what is whole."""

    def run(kind, data):
        reader = make(kind)
        for at in range(0, len(data), 1000):
            read(reader, data[at : at + 1000])

    return run


def read_frames(reader, data):
    reader.feed(data)
    while reader.next() is not None:
        pass


case("wire.websocket_messages:FrameReader", *FRAMES, call=framed(lambda kind: kind(True), read_frames))
case("wire.websocket_messages:ClientMessages", *FRAMES, call=framed(lambda kind: kind(1 << 30), read_frames))
case(
    "wire.websocket_messages:ServerMessages",
    *map(unmasked, FRAMES),
    call=framed(lambda kind: kind(1 << 30), lambda reader, data: reader.read(data)),
)
case("wire.websocket_messages:text_frame", rep(b"x"), rep(b"\xc3\xa9"))
case("wire.websocket_messages:close_frame", text("x"), text("\u00e9"), call=lambda f, value: f(1008, value))
TURNS = (
    *JSONS,
    rep(b'"type":"x",', b"{", b'"type":"response.create"}'),
    rep(b'"response":{"a":1},', b"{", b'"type":"response.create"}'),
    rep(b'"a":1,', b'{"type":"response.create","response":{', b'"b":1}}'),
    rep(b"\\u0061", b'{"type":"', b'"}'),
)
"""What turns may be, and bodies of all kinds."""
case("wire.websocket_events:may_matter", *TURNS)
case("wire.websocket_events:read_client_event", *TURNS)
case("wire.websocket_events:maybe_server_event", *TURNS)
case("wire.websocket_events:is_sound", *TURNS)


def asked_in_turn(function, value):
    from openai_proxy.wire.websocket_events import ClientEvent, stream_id_of

    event = ClientEvent(value, stream_id=value)
    stream_id_of(event)
    function(event, "model")


case("wire.websocket_events:parameters", *TURNS, call=asked_in_turn)
case("wire.websocket_events:stream_id_of", *TURNS, call=lambda f, value: f(_event_of(value)))
case("wire.websocket_events:refusal", *TURNS, call=lambda f, value: f(value, 429, {}, value))


def _event_of(value):
    from openai_proxy.wire.websocket_events import ClientEvent

    return ClientEvent(value, stream_id=value)

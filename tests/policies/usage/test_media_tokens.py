"""Images, sounds and files count by tiles, seconds and pages."""

import base64
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.policies.usage.media_tokens import (
    UNKNOWN_FILE_TOKENS,
    UNKNOWN_IMAGE_TOKENS,
    audio_tokens,
    file_tokens,
    image_tokens,
    maybe_image_size,
    video_tokens,
)


def png(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + b"IHDR"
        + header
        + struct.pack(">I", zlib.crc32(header))
    )


def jpeg(width, height, exif=60_000):
    segment = b"\xff\xe1" + struct.pack(">H", exif + 2) + bytes(exif)
    frame = b"\xff\xc2" + struct.pack(">HBHH", 17, 8, height, width) + bytes(10)
    return b"\xff\xd8" + segment + b"\xff" + frame


def webp(kind, payload):
    return b"RIFF" + bytes(4) + b"WEBP" + kind + bytes(4) + payload


def data_url(data, kind="image/png"):
    return f"data:{kind};base64," + base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (png(640, 480), (640, 480)),
        (jpeg(4032, 3024), (4032, 3024)),
        (b"GIF89a" + struct.pack("<HH", 10, 20), (10, 20)),
        (webp(b"VP8X", bytes(4) + (1023).to_bytes(3, "little") + (767).to_bytes(3, "little")), (1024, 768)),
        (webp(b"VP8 ", bytes(6) + struct.pack("<HH", 800, 600)), (800, 600)),
        (webp(b"VP8L", b"\x2f" + (99 | 49 << 14).to_bytes(4, "little") + bytes(5)), (100, 50)),
        (png(0, 7), None),
        (b"\xff\xd8\xff\xe0\x00\x02", None),
        (b"\xff\xd8" + b"\xff" * 50, None),
        (b"BM", None),
        (b"", None),
    ],
)
def test_the_size_of_an_image_stands_in_its_head(data, size):
    """PNG, JPEG (after its EXIF data), GIF and all three kinds of WebP."""
    assert maybe_image_size(data) == size


@pytest.mark.parametrize(
    ("size", "detail", "tokens"),
    [
        ((1024, 1024), None, 765),
        ((2048, 4096), "high", 1105),
        ((512, 512), "auto", 255),
        ((1, 1), None, 255),
        ((2048, 4096), "low", 85),
        ((2**32 - 1, 1), None, 765),
    ],
)
def test_an_image_counts_by_its_tiles(size, detail, tokens):
    """The examples of OpenAI's guide, and shapes that nobody would send."""
    assert image_tokens(data_url(png(*size)), detail) == tokens


@pytest.mark.parametrize("url", ["https://a/b.png", "data:image/png;base64,!!", "data:x", "", None, 7, {}])
def test_an_image_that_is_not_here_counts_as_a_square(url):
    """A URL is not fetched."""
    assert image_tokens(url) == UNKNOWN_IMAGE_TOKENS


def test_a_sound_counts_by_its_seconds():
    """The rate of a WAV file is in its head; ten tokens a second."""
    rate = 32_000
    head = b"RIFF" + bytes(4) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16000, rate, 2, 16)
    sound = base64.b64encode(head + bytes(9 * rate)).decode()
    assert audio_tokens(sound, "wav") == 91
    assert audio_tokens(base64.b64encode(bytes(16_000 * 60)).decode(), "mp3") == 601
    assert audio_tokens(None, None) == 10


def test_a_file_counts_by_its_pages():
    """A PDF shows its pages, or counts by its size; other files are text."""
    shown = b"%PDF-1.7 " + b"<< /Type /Page >> <</Type/Page>> << /Type /Pages >>" + bytes(300_000)
    assert file_tokens(data_url(shown, "application/pdf")) == 3000
    assert file_tokens(base64.b64encode(b"%PDF-1.7 " + bytes(100_000)).decode()) == 4500
    assert file_tokens(base64.b64encode(b"word" * 100).decode()) == 101
    assert file_tokens(None) == file_tokens("") == UNKNOWN_FILE_TOKENS


def test_a_video_counts_by_its_seconds():
    """A URL is not fetched."""
    assert video_tokens("https://a/b.mp4") == UNKNOWN_FILE_TOKENS
    assert video_tokens(data_url(bytes(250_000), "video/mp4")) == pytest.approx(300, rel=0.01)


@given(
    st.text()
    | st.binary().map(data_url)
    | st.binary().map(lambda b: base64.b64encode(b).decode())
    | st.none()
)
def test_nothing_that_strangers_send_breaks_an_estimate(value):
    """Any text may stand where an image or a sound should."""
    for rule in (image_tokens, audio_tokens, file_tokens, video_tokens):
        assert rule(value) > 0


@given(
    st.sampled_from([b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF....WEBP", b"GIF8"]), st.binary(max_size=200)
)
def test_a_broken_image_has_no_size_or_some(magic, rest):
    """Cut, filled with zeros, or hostile."""
    size = maybe_image_size(magic + rest)
    assert size is None or min(size) > 0

"""Streams of transcriptions and images stand in the log as the plain call would have answered."""

from openai_proxy.observe.exchange_log.assembly.assemble import assemble

USAGE = {"type": "tokens", "input_tokens": 14, "output_tokens": 45, "total_tokens": 59}
DELTAS = [{"type": "transcript.text.delta", "delta": piece, "logprobs": []} for piece in ("Hel", "lo ", "ü")]


def test_a_transcript_is_its_text():
    """With log probabilities and usage, and without the deltas that say it once more."""
    done = {"type": "transcript.text.done", "text": "Hello ü", "logprobs": [], "usage": USAGE}
    assert assemble([*DELTAS, done]) == {"text": "Hello ü", "logprobs": [], "usage": USAGE}


def test_a_transcript_that_was_cut_is_what_had_come():
    """Text, or the texts of the segments."""
    assert assemble(DELTAS[:2]) == {"text": "Hello "}
    segments = [
        {"type": "transcript.text.segment", "id": f"seg_{at}", "text": f" part {at}", "speaker": "A"}
        for at in (1, 2)
    ]
    assert assemble(segments) == {"text": "part 1 part 2", "segments": segments}


def test_the_segments_of_speakers_are_listed():
    """As the plain answer in `diarized_json` has them."""
    segment = {
        "type": "transcript.text.segment",
        "id": "seg_1",
        "text": "Hello",
        "speaker": "A",
        "start": 0.0,
    }
    done = {"type": "transcript.text.done", "text": "Hello"}
    assert assemble([segment, done]) == {"text": "Hello", "segments": [segment]}


def test_an_error_in_a_transcription_keeps_its_events():
    """What does not fit together is logged as it came."""
    assert assemble([*DELTAS, {"error": {"message": "away"}}]) is None
    assert assemble([*DELTAS, {"type": "error"}]) is None


def test_images_are_the_last_ones():
    """The partial ones before, each as large as the image, are left out."""
    about = {"created_at": 1, "size": "1024x1024", "output_format": "png"}
    partial = {"type": "image_edit.partial_image", "b64_json": "AAAA", "partial_image_index": 0, **about}
    done = {"type": "image_edit.completed", "b64_json": "BBBB", **about, "usage": {"total_tokens": 3}}
    assert assemble([partial, partial, done]) == {
        "created": 1,
        "size": "1024x1024",
        "output_format": "png",
        "usage": {"total_tokens": 3},
        "data": [{"b64_json": "BBBB"}],
    }
    made = {**done, "type": "image_generation.completed"}
    assert assemble([made, {**made, "b64_json": "CC"}])["data"] == [{"b64_json": "BBBB"}, {"b64_json": "CC"}]
    assert assemble([partial]) is None

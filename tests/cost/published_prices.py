"""Answers of OpenAI and others with what they cost, each written out by hand from the published prices."""

from typing import Any

from attrs import frozen

M = 1_000_000
OPENAI = "https://api.openai.com/v1"
AZURE = "https://mine.openai.azure.com/openai/v1"
GROQ = "https://api.groq.com/openai/v1"
XAI = "https://api.x.ai/v1"
MISTRAL = "https://api.mistral.ai/v1"
PROVIDERS = {OPENAI: "openai", AZURE: "azure", GROQ: "groq", XAI: "x-ai", MISTRAL: "mistral"}


@frozen
class Row:
    """An answer and its cost. `listed` are the same counts as genai-prices names them; None if it cannot."""

    name: str
    base_url: str
    model: str
    usage: dict[str, Any]
    cost_usd: float | None
    listed: dict[str, int] | None = None
    tier: str | None = None
    answered: str | None = None


def chat(given: int, made: int, read: Any = None, written: Any = None, **more: Any) -> dict[str, Any]:
    """Return usage as chat/completions and completions report it."""
    details = {"prompt_tokens_details": read, "completion_tokens_details": written}
    return {
        "prompt_tokens": given,
        "completion_tokens": made,
        "total_tokens": given + made,
        **{name: value for name, value in details.items() if value is not None},
        **more,
    }


def items(given: int, made: int, read: Any = None, written: Any = None) -> dict[str, Any]:
    """Return usage as responses, images and transcriptions report it."""
    details = {"input_tokens_details": read, "output_tokens_details": written}
    return {
        "input_tokens": given,
        "output_tokens": made,
        "total_tokens": given + made,
        **{name: value for name, value in details.items() if value is not None},
    }


def counts(given: int, made: int = 0, cached: int = 0, **more: int) -> dict[str, int]:
    return {"input_tokens": given, "output_tokens": made, "cache_read_tokens": cached, **more}


TABLE = [
    # ---- text: chat, completions, responses
    Row("chat", OPENAI, "gpt-4o", chat(1000, 500), (1000 * 2.5 + 500 * 10) / M, counts(1000, 500)),
    Row(
        "cached prompt",
        OPENAI,
        "gpt-4o",
        chat(2006, 300, {"cached_tokens": 1920, "audio_tokens": 0}),
        (86 * 2.5 + 1920 * 1.25 + 300 * 10) / M,
        counts(2006, 300, 1920),
    ),
    Row(
        "dated name",
        OPENAI,
        "gpt-4o-mini-2024-07-18",
        chat(40_000, 900),
        (40_000 * 0.15 + 900 * 0.6) / M,
        counts(40_000, 900),
    ),
    Row(
        "responses with a cached prompt",
        OPENAI,
        "gpt-4.1",
        items(1000, 500, {"cached_tokens": 512}, {"reasoning_tokens": 0}),
        (488 * 2 + 512 * 0.5 + 500 * 8) / M,
        counts(1000, 500, 512),
    ),
    Row(
        "all of the prompt cached",
        OPENAI,
        "gpt-4.1-mini",
        chat(1024, 1, {"cached_tokens": 1024}),
        (1024 * 0.1 + 1 * 1.6) / M,
        counts(1024, 1, 1024),
    ),
    Row(
        "more cached than there is",
        OPENAI,
        "gpt-4.1-mini",
        chat(100, 0, {"cached_tokens": 900}),
        100 * 0.1 / M,
    ),
    Row(
        "completions",
        OPENAI,
        "gpt-3.5-turbo-instruct",
        chat(12, 256),
        (12 * 1.5 + 256 * 2) / M,
        counts(12, 256),
    ),
    Row(
        "completions of a base model",
        OPENAI,
        "davinci-002",
        chat(700, 16),
        (700 * 2 + 16 * 2) / M,
        counts(700, 16),
    ),
    # ---- reasoning is part of the output, or beside it
    Row(
        "reasoning inside the output",
        OPENAI,
        "o3",
        chat(1000, 900, None, {"reasoning_tokens": 800}),
        (1000 * 2 + 900 * 8) / M,
        counts(1000, 900),
    ),
    Row(
        "responses with reasoning and cache",
        OPENAI,
        "gpt-5",
        items(1000, 900, {"cached_tokens": 512}, {"reasoning_tokens": 800}),
        (488 * 1.25 + 512 * 0.125 + 900 * 10) / M,
        counts(1000, 900, 512),
    ),
    Row(
        "xAI: reasoning beside the completion",
        XAI,
        "grok-3-mini",
        chat(32, 9, {"cached_tokens": 6}, {"reasoning_tokens": 94}, total_tokens=135),
        (26 * 0.3 + 6 * 0.075 + 103 * 0.5) / M,
        counts(32, 103, 6),
    ),
    Row(
        "xAI: sources cost apart and count no token",
        XAI,
        "grok-4-0709",
        chat(500, 20, None, {"reasoning_tokens": 300}, total_tokens=820, num_sources_used=0),
        (500 * 3 + 320 * 15) / M,
        counts(500, 320),
    ),
    Row(
        "xAI: responses",
        XAI,
        "grok-code-fast-1",
        items(800, 450, {"cached_tokens": 700}, {"reasoning_tokens": 400}),
        (100 * 0.2 + 700 * 0.02 + 450 * 1.5) / M,
        counts(800, 450, 700),
    ),
    # ---- writes into the prompt cache
    Row(
        "cache write",
        OPENAI,
        "gpt-6-sol",
        items(20_000, 100, {"cached_tokens": 8000, "cache_write_tokens": 11_000}),
        (1000 * 2 + 8000 * 0.2 + 11_000 * 2.5 + 100 * 10) / M,
        counts(20_000, 100, 8000, cache_write_tokens=11_000),
    ),
    Row(
        "cache write alone",
        OPENAI,
        "gpt-5.6-luna",
        chat(5000, 200, {"cache_write_tokens": 4800}),
        (200 * 0.2 + 4800 * 0.25 + 200 * 1.2) / M,
        counts(5000, 200, cache_write_tokens=4800),
    ),
    Row("cache write without a price", OPENAI, "gpt-4o", chat(1100, 600, {"cache_write_tokens": 1000}), None),
    # ---- long prompts
    Row(
        "up to the step of a long prompt",
        OPENAI,
        "gpt-5.4",
        chat(272_000, 10),
        (272_000 * 2.5 + 10 * 15) / M,
        counts(272_000, 10),
    ),
    Row(
        "beyond the step all of it costs more",
        OPENAI,
        "gpt-5.4",
        chat(300_000, 1000, {"cached_tokens": 100_000}),
        (200_000 * 5 + 100_000 * 0.5 + 1000 * 22.5) / M,
        counts(300_000, 1000, 100_000),
    ),
    Row(
        "a long prompt written into the cache",
        OPENAI,
        "gpt-6-sol",
        items(280_000, 50, {"cached_tokens": 0, "cache_write_tokens": 270_000}),
        (10_000 * 4 + 270_000 * 5 + 50 * 15) / M,
        counts(280_000, 50, cache_write_tokens=270_000),
    ),
    # ---- sound
    Row(
        "sound in and out",
        OPENAI,
        "gpt-audio",
        chat(1100, 600, {"audio_tokens": 1000, "cached_tokens": 0}, {"audio_tokens": 500}),
        (100 * 2.5 + 1000 * 32 + 100 * 10 + 500 * 64) / M,
        counts(1100, 600, input_audio_tokens=1000, output_audio_tokens=500),
    ),
    Row(
        "sound in, text out",
        OPENAI,
        "gpt-audio-mini",
        chat(1010, 40, {"audio_tokens": 1000, "text_tokens": 10}, {"audio_tokens": 0, "text_tokens": 40}),
        (10 * 0.6 + 1000 * 10 + 40 * 2.4) / M,
        counts(1010, 40, input_audio_tokens=1000),
    ),
    Row(
        "realtime's details with cached sound",
        OPENAI,
        "gpt-realtime",
        {
            "total_tokens": 1700,
            "input_tokens": 1100,
            "output_tokens": 600,
            "input_token_details": {
                "text_tokens": 100,
                "audio_tokens": 1000,
                "cached_tokens": 500,
                "cached_tokens_details": {"text_tokens": 100, "audio_tokens": 400},
            },
            "output_token_details": {"text_tokens": 100, "audio_tokens": 500},
        },
        (100 * 0.4 + 600 * 32 + 400 * 0.4 + 100 * 16 + 500 * 64) / M,
        counts(1100, 600, 500, input_audio_tokens=1000, cache_audio_read_tokens=400, output_audio_tokens=500),
    ),
    Row(
        "sound without a price",
        OPENAI,
        "gpt-4o-audio-preview",
        chat(1100, 600, {"audio_tokens": 1000}, {"audio_tokens": 500}),
        None,
    ),
    Row(
        "the same model with text alone",
        OPENAI,
        "gpt-4o-audio-preview",
        chat(1100, 600, {"audio_tokens": 0}),
        (1100 * 2.5 + 600 * 10) / M,
        counts(1100, 600),
    ),
    # ---- transcription: by the token, by the second
    Row(
        "transcription by the token",
        OPENAI,
        "gpt-4o-transcribe",
        {**items(1014, 45, {"text_tokens": 14, "audio_tokens": 1000}), "type": "tokens"},
        (14 * 2.5 + 1000 * 6 + 45 * 10) / M,
        counts(1014, 45, input_audio_tokens=1000),
    ),
    Row(
        "small transcription",
        OPENAI,
        "gpt-4o-mini-transcribe",
        {**items(14, 45, {"text_tokens": 0, "audio_tokens": 14}), "type": "tokens"},
        (14 * 3 + 45 * 5) / M,
        counts(14, 45, input_audio_tokens=14),
    ),
    Row(
        "transcription by the second",
        OPENAI,
        "whisper-1",
        {"type": "duration", "seconds": 90},
        0.36 * 90 / 3600,
        {"audio_seconds": 90, "input_audio_seconds": 90},
    ),
    Row("a model sold by the token told seconds", OPENAI, "gpt-4o", {"type": "duration", "seconds": 9}, None),
    Row(
        "Groq's transcription",
        GROQ,
        "whisper-large-v3-turbo",
        {"type": "duration", "seconds": 1800},
        0.04 * 1800 / 3600,
        {"audio_seconds": 1800, "input_audio_seconds": 1800},
    ),
    Row("speech", OPENAI, "gpt-4o-mini-tts", items(14, 101), (14 * 0.6 + 101 * 12) / M, counts(14, 101)),
    # ---- images
    Row(
        "an image made, without details of the output",
        OPENAI,
        "gpt-image-1",
        items(50, 4160, {"text_tokens": 50, "image_tokens": 0}),
        (50 * 5 + 4160 * 40) / M,
        counts(50, 4160),
    ),
    Row(
        "an image changed",
        OPENAI,
        "gpt-image-1.5",
        items(
            1050, 4170, {"text_tokens": 50, "image_tokens": 1000}, {"text_tokens": 10, "image_tokens": 4160}
        ),
        (50 * 5 + 1000 * 8 + 10 * 10 + 4160 * 32) / M,
        counts(1050, 4170, input_image_tokens=1000, output_image_tokens=4160),
    ),
    Row(
        "an image changed by a small model",
        OPENAI,
        "gpt-image-1-mini",
        items(450, 1056, {"text_tokens": 50, "image_tokens": 400}),
        (50 * 2 + 400 * 2.5 + 1056 * 8) / M,
        counts(450, 1056, input_image_tokens=400),
    ),
    Row(
        "an image shown to a chat costs as text",
        OPENAI,
        "gpt-4o",
        chat(1000, 10, {"image_tokens": 900}, {"reasoning_tokens": 0}),
        (1000 * 2.5 + 10 * 10) / M,
        counts(1000, 10),
    ),
    # ---- embeddings
    Row(
        "embeddings",
        OPENAI,
        "text-embedding-3-small",
        {"prompt_tokens": 8191, "total_tokens": 8191},
        8191 * 0.02 / M,
        counts(8191),
    ),
    Row(
        "old embeddings",
        OPENAI,
        "text-embedding-ada-002",
        {"prompt_tokens": 7, "total_tokens": 7},
        7 * 0.1 / M,
        counts(7),
    ),
    Row(
        "embeddings with a total alone",
        OPENAI,
        "text-embedding-3-large",
        {"total_tokens": 1000},
        1000 * 0.13 / M,
    ),
    # ---- service tiers, as the answer names them
    Row(
        "flex",
        OPENAI,
        "gpt-5-mini",
        chat(1000, 1000, {"cached_tokens": 400}),
        (600 * 0.125 + 400 * 0.0125 + 1000 * 1) / M,
        counts(1000, 1000, 400),
        tier="flex",
    ),
    Row(
        "flex with reasoning",
        OPENAI,
        "o3",
        items(1000, 900, {"cached_tokens": 0}, {"reasoning_tokens": 832}),
        (1000 * 1 + 900 * 4) / M,
        counts(1000, 900),
        tier="flex",
    ),
    Row(
        "priority",
        OPENAI,
        "gpt-4.1",
        chat(1000, 500, {"cached_tokens": 512}),
        (488 * 3.5 + 512 * 0.875 + 500 * 14) / M,
        counts(1000, 500, 512),
        tier="priority",
    ),
    Row(
        "priority with a cache write",
        OPENAI,
        "gpt-6-sol",
        items(3000, 100, {"cached_tokens": 0, "cache_write_tokens": 2000}),
        (1000 * 4 + 2000 * 5 + 100 * 20) / M,
        counts(3000, 100, cache_write_tokens=2000),
        tier="priority",
    ),
    Row(
        "flex and a long prompt",
        OPENAI,
        "gpt-5.4",
        chat(300_000, 1000, {"cached_tokens": 100_000}),
        (200_000 * 2.5 + 100_000 * 0.25 + 1000 * 11.25) / M,
        counts(300_000, 1000, 100_000),
        tier="flex",
    ),
    Row(
        "the default tier",
        OPENAI,
        "gpt-5",
        chat(10, 10),
        (10 * 1.25 + 10 * 10) / M,
        counts(10, 10),
        tier="default",
    ),
    Row("a tier that nobody lists", OPENAI, "gpt-5", chat(10, 10), None, tier="scale"),
    Row("flex where the list has none", OPENAI, "gpt-4o", chat(10, 10), None, tier="flex"),
    # ---- other providers, and Azure's names
    Row("Azure's spelling", AZURE, "gpt-35-turbo", chat(90, 30), (90 * 0.5 + 30 * 1.5) / M),
    Row(
        "a deployment is priced by the model that answers",
        AZURE,
        "our-team-chat",
        chat(1000, 500, {"cached_tokens": 512}),
        (488 * 2 + 512 * 0.5 + 500 * 8) / M,
        answered="gpt-4.1-2025-04-14",
    ),
    Row("a deployment whose answer names nothing", AZURE, "our-team-chat", chat(1000, 500), None),
    Row(
        "Groq",
        GROQ,
        "openai/gpt-oss-120b",
        chat(1000, 200, {"cached_tokens": 500}, {"reasoning_tokens": 100}),
        (500 * 0.15 + 500 * 0.075 + 200 * 0.6) / M,
        counts(1000, 200, 500),
        tier="on_demand",
    ),
    Row(
        "Mistral",
        MISTRAL,
        "mistral-small-latest",
        chat(1000, 200),
        (1000 * 0.15 + 200 * 0.6) / M,
        counts(1000, 200),
    ),
    Row("a model that nobody lists", OPENAI, "house-model", chat(10, 10), None),
    # ---- the configuration's own prices: every kind, and factors
    Row("own: text", OPENAI, "own-text", chat(1000, 500, {"cached_tokens": 200}), (1000 * 3 + 500 * 7) / M),
    Row(
        "own: every kind of input",
        OPENAI,
        "own-all",
        chat(
            1000,
            10,
            {
                "audio_tokens": 200,
                "image_tokens": 300,
                "cached_tokens": 250,
                "cached_tokens_details": {"text_tokens": 100, "audio_tokens": 50, "image_tokens": 100},
                "cache_write_tokens": 150,
            },
        ),
        # 500 of text: 100 cached, 150 written, 250 plain; 200 of sound: 50 cached; 300 of images: 100 cached
        (250 * 1 + 100 * 0.1 + 150 * 1.25 + 150 * 40 + 50 * 4 + 200 * 8 + 100 * 0.8 + 10 * 5) / M,
    ),
    Row(
        "own: every kind of output",
        OPENAI,
        "own-all",
        chat(10, 600, None, {"audio_tokens": 100, "image_tokens": 300}),
        (10 * 1 + 200 * 5 + 100 * 80 + 300 * 30) / M,
    ),
    Row("own: by the hour", OPENAI, "own-all", {"type": "duration", "seconds": 36}, 0.5 * 36 / 3600),
    Row("own: a factor", OPENAI, "own-all", chat(1000, 100), (1000 * 1 + 100 * 5) * 0.4 / M, tier="flex"),
    Row(
        "own: a factor on sound",
        OPENAI,
        "own-all",
        chat(1000, 100, {"audio_tokens": 1000}),
        (1000 * 40 + 100 * 5) * 2.5 / M,
        tier="priority",
    ),
    Row("own: a tier without its factor", OPENAI, "own-all", chat(1000, 100), None, tier="scale"),
    Row("own: a kind without a price", OPENAI, "own-text", chat(1000, 100, {"audio_tokens": 1000}), None),
    Row("own: a glob before the list", OPENAI, "gpt-4-house", chat(1000, 100), (1000 * 9 + 100 * 0) / M),
]

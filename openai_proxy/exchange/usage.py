"""The model tokens that an exchange has used. Pure."""

from __future__ import annotations

from attrs import define, frozen


@frozen
class TokenKinds:
    """Parts of one exchange's model tokens that may have prices of their own.

    Each is a part of the input or of the output; the cached ones are a part of
    `Usage.cached_tokens`. `audio_seconds` is the measure of a transcription
    model that counts no tokens.
    """

    cache_write_tokens: int = 0
    """Input that the upstream wrote into its prompt cache."""
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    audio_cached_tokens: int = 0
    image_input_tokens: int = 0
    image_output_tokens: int = 0
    image_cached_tokens: int = 0
    audio_seconds: float = 0.0


@define
class Usage:
    """Model tokens of one exchange, as reported by the upstream or estimated by the proxy.

    `cached_tokens` are part of `input_tokens`, `reasoning_tokens` of
    `output_tokens`, as OpenAI counts them. `kinds` is None for plain text,
    which nearly all usage is. Never mutated (not frozen: that takes twice
    the time to make).
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    kinds: TokenKinds | None = None

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

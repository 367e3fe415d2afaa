"""The names and numbers of OpenTelemetry's GenAI semantic conventions.

Written out, since the conventions' own package calls them all deprecated
while they move to a repository of their own. Pure data.
"""

from __future__ import annotations

OPERATIONS = {
    "chat/completions": "chat",
    "responses": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
    "images/generations": "generate_content",
    "images/edits": "generate_content",
    "images/variations": "generate_content",
    "audio/speech": "generate_content",
    "audio/transcriptions": "generate_content",
    "audio/translations": "generate_content",
}
"""Endpoint to `gen_ai.operation.name`, for POST. The others call no model: plain HTTP spans."""

API_TYPES = {"chat/completions": "chat_completions", "responses": "responses"}
"""Endpoint to `openai.api.type`."""

OPENAI = "openai"
PROVIDERS = (
    (".openai.azure.com", "azure.ai.openai"),
    (".cognitiveservices.azure.com", "azure.ai.openai"),
    (".services.ai.azure.com", "azure.ai.inference"),
    (".inference.ai.azure.com", "azure.ai.inference"),
    (".anthropic.com", "anthropic"),
    (".cohere.com", "cohere"),
    (".cohere.ai", "cohere"),
    (".deepseek.com", "deepseek"),
    (".groq.com", "groq"),
    (".mistral.ai", "mistral_ai"),
    (".perplexity.ai", "perplexity"),
    (".x.ai", "x_ai"),
    ("-aiplatform.googleapis.com", "gcp.vertex_ai"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
)
"""End of an upstream's host name to `gen_ai.provider.name`; any other speaks OpenAI's API: `openai`."""

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"))
OTHER_METHOD = "_OTHER"

DURATION = "gen_ai.client.operation.duration"
TOKEN_USAGE = "gen_ai.client.token.usage"
TIME_TO_FIRST_TOKEN = "gen_ai.server.time_to_first_token"
TIME_PER_OUTPUT_TOKEN = "gen_ai.server.time_per_output_token"

HISTOGRAMS = {
    DURATION: (
        "s",
        "GenAI operation duration.",
        (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
    ),
    TOKEN_USAGE: (
        "{token}",
        "Number of input and output tokens used.",
        tuple(float(4**power) for power in range(14)),
    ),
    TIME_TO_FIRST_TOKEN: (
        "s",
        "Time to generate first token for successful responses.",
        (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    ),
    TIME_PER_OUTPUT_TOKEN: (
        "s",
        "Time per output token generated after the first token for successful responses.",
        (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
    ),
}
"""Metric to its unit, description and bucket boundaries."""


def provider_of(host: str) -> str:
    """Return `gen_ai.provider.name` of the upstream at a host name."""
    dotted = "." + host.lower()
    return next((name for end, name in PROVIDERS if dotted.endswith(end)), OPENAI)

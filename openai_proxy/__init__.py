"""A transparent proxy for the OpenAI API, on Twisted."""

__version__ = "0.1.0"

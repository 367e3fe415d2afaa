"""What this distribution adds to Twisted's plugins."""

from openai_proxy.observe.factories import console, exchange_log, json_lines, prometheus, text_log

__all__ = ["console", "exchange_log", "json_lines", "prometheus", "text_log"]

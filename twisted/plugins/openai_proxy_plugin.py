"""What this distribution adds to Twisted's plugins.

The `twistd openai-proxy` command and the built-in observers. No
`__init__.py` stands beside this file: it extends Twisted's own package.
"""

import sys

from twisted.application.service import ServiceMaker

_WINDOWS = sys.platform == "win32"

if _WINDOWS:  # it has no fcntl, which the observers' files are locked with
    __all__ = ["openai_proxy"]
else:
    from openai_proxy.observe.factories import console, exchange_log, json_lines, otel, prometheus, text_log

    __all__ = ["console", "exchange_log", "json_lines", "openai_proxy", "otel", "prometheus", "text_log"]

openai_proxy = ServiceMaker(
    "openai-proxy",
    "openai_proxy.daemon.unsupported" if _WINDOWS else "openai_proxy.tap",
    "A transparent proxy for the OpenAI API.",
    "openai-proxy",
)

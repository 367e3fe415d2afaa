"""Replace the JSON object in the body of a request."""

from __future__ import annotations

from typing import Any

from ...exchange.messages import ProxyRequest
from ...exchange.record import HeaderPairs
from ...wire.body_headers import with_length, without_coding


def with_json(
    request: ProxyRequest, text: bytes, document: dict[str, Any], headers: HeaderPairs
) -> ProxyRequest:
    """Return a copy with another JSON object, sent as plain UTF-8 whatever the encoding of the old one.

    `headers` are those to be sent; the ones that describe the body are
    replaced.
    """
    changed = request.evolve()
    if request.text is not None:
        headers = without_coding(headers)
        changed.text = None
        changed.encoded = False
    changed.body = text
    changed.document = document
    changed.headers = with_length(headers, len(text))
    return changed

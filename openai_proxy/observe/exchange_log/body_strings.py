"""What is shown of a string in a JSON body, by its look. Pure."""

from __future__ import annotations

import operator
import re

from ...exchange.bounded_memo import short_memo
from ...wire.key_like import KEY_LIKE
from ..redaction import REDACTED, scrubbed, scrubbed_once

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_-"
_LONG = 512
_TEXTS_KEPT = 1024


def shown_text_once(text: str) -> str:
    """Return a string without what looks like a key; of one long word only its beginning is looked at."""
    if len(text) > _LONG and (text.startswith("data:") or _is_base64(text)):
        return REDACTED if KEY_LIKE.match(text) else text
    return scrubbed_once(_without_user(text) if "://" in text else text)


# Most strings of bodies come again and again: names of models, roles, types. See `scrubbed` for what is kept.
shown_text = short_memo(_TEXTS_KEPT, keeps=operator.eq)(shown_text_once)


def _is_base64(text: str) -> bool:
    return text.isascii() and not text.encode("ascii").translate(None, _BASE64)


_user = re.compile(r"(?<=://)[^/@?#\s]+@")
_server = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)?(?:[^/@?#]*@)?([^/?#]*)([^?#]*)([?#].*)?", re.DOTALL)
_long_word = re.compile(r"(?<![^/])(?=[^/]*[0-9])[^/]{20,}")


def _without_user(text: str) -> str:
    return _user.sub(f"{REDACTED}@", text)


def shown_server(url: str) -> str:
    """Return where a tool server is, without the user, the query and long words of the path: they are its keys."""
    found = _server.fullmatch(url)
    if found is None:
        return REDACTED
    path = _long_word.sub(REDACTED, found[3])
    return scrubbed(f"{found[1] or ''}{found[2]}{path}") + (f"{found[4][0]}{REDACTED}" if found[4] else "")

"""Credentials that travel in JSON bodies, taken out before a line is made. Pure.

Known by the name of their member (`client_secret`, `authorization`) or by
their look (`ek_...`, `sk-admin-...`). What people and models wrote to each
other is left as it is: a prompt about keys stays what it was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from ...exchange.bounded_memo import short_memo
from ...wire.json_members import value_end
from ...wire.key_like import KEY_LIKE
from ..redaction import REDACTED, scrubbed

_PROSE_NAMES = frozenset(
    re.findall(
        r"\w+",
        """content text input prompt instructions system arguments output delta refusal reasoning_content reasoning
    thinking transcript description query suffix summary_text messages completion contents examples
    code logs stop bytes tokens token top_logprobs""",
    )
)
"""Members whose strings a person or a model wrote."""
_SECRET_NAMES = frozenset(
    re.findall(
        r"\w+",
        """clientsecret authorization proxyauthorization apikey xapikey accesstoken refreshtoken idtoken authtoken
    bearertoken sessiontoken securitytoken password passwd secret secretkey secretaccesskey signingsecret
    webhooksecret privatekey apisecret apitoken subscriptionkey ephemeralkey oauthtoken cookie setcookie
    accountkey sastoken secretvalue""",
    )
)
"""Members that hold a credential; without `_` and `-`, in lower case."""
_WITHIN_SECRETS = frozenset(("value", "secret", "token", "key"))
"""Members that hold it if the credential is an object: `"client_secret": {"value": ...}`."""
_HOLDERS = frozenset(("auth", "domain_secrets"))
"""Objects, or lists of them, with a credential and what it is for: in vaults, and in network policies."""
_OF_TOOL_SERVERS = frozenset(("server_url", "server_label", "connector_id"))
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_-"
_LONG = 512
_LONGEST_KEY = 4096
MOST_STRINGS = 100_000
"""Strings above which a whole body is too costly to look into: its beginning is shown as text."""
MOST_CONTAINERS = 50_000
"""Lists and objects, likewise."""
MOST_TORN_STRINGS = 20_000
"""Strings of a body's beginning that are looked into; what follows is left out."""


_PLAIN, _WRITTEN, _HOLDER, _HIDDEN = range(4)
"""What the strings of a container are: anything; prose; those of a credential's object; all of them secrets."""


def without_credentials(value: Any) -> Any:
    """Return decoded JSON with its credentials blotted out; changed in place. O(n), without recursion."""
    top = [value]
    _blot_out(top)
    return top[0]


def has_credentials(value: Any) -> bool:
    """Say whether decoded JSON holds a credential; it is blotted out in place."""
    return _blot_out([value])[0] > 0


def shows_no_credentials(value: dict[str, Any], text: bytes) -> bool:
    """Blot the credentials of `value` out in place; return whether `text`, which it was decoded from, has none.

    False also if the text may hold more than the value does: of a member
    that comes twice, decoding keeps the second one only.
    """
    changes, members = _blot_out([value])
    return not changes and text.count(b'":') == members


def _blot_out(top: list[Any]) -> tuple[int, int]:
    """Blot out in place; return how many strings changed, and how many members were seen."""
    changes = members = 0
    waiting: list[tuple[Any, int]] = [(top, _PLAIN)]
    while waiting:
        container, kind = waiting.pop()
        if type(container) is dict:
            members += len(container)
            changes += _look_into_members(container, kind, waiting)
        else:
            changes += _look_into_items(container, kind, waiting)
    return changes, members


def _look_into_items(items: list[Any], kind: int, waiting: list[tuple[Any, int]]) -> int:
    changes = 0
    for at, item in enumerate(items):
        if type(item) is str:
            if kind != _WRITTEN:
                shown = _shown_text(item) if kind == _PLAIN else REDACTED
                if shown != item:
                    items[at] = shown
                    changes += 1
        elif item and type(item) is dict:
            waiting.append((item, _PLAIN if kind == _WRITTEN else kind))
        elif item and type(item) is list:
            waiting.append((item, kind))
    return changes


def _look_into_members(members: dict[str, Any], kind: int, waiting: list[tuple[Any, int]]) -> int:
    changes = 0
    of_tool_server = members.get("type") == "mcp" or not _OF_TOOL_SERVERS.isdisjoint(members)
    has_key_as_name = False
    for name, value in members.items():
        role = _role(name)
        if type(value) is str:
            shown = _shown_member(name, role, value, kind, of_tool_server)
            if shown != value:
                members[name] = shown
                changes += 1
        elif value and (type(value) is dict or type(value) is list):
            waiting.append((value, _kind_below(role, value, kind, of_tool_server, members.get("type"))))
        if role == _KEY:
            has_key_as_name = True
    if has_key_as_name:
        renamed = {scrubbed(name): value for name, value in members.items()}
        members.clear()
        members.update(renamed)
        changes += 1
    return changes


_OTHER, _PROSE, _SECRET, _SERVER, _HEADERS, _VARIABLES, _KEY, _HOLDING, _ENVIRONMENT, _FIELDS = range(10)
"""What a member's name says of its value; `_KEY`: the name itself looks like a key."""


@short_memo(1024, keeps=lambda name, role: role != _KEY)
def _role(name: str) -> int:
    if name in _PROSE_NAMES:
        return _PROSE
    if _is_secret(name):
        return _SECRET
    if len(name) >= 12 and KEY_LIKE.match(name):
        return _KEY
    if name == "server_url":
        return _SERVER
    if name == "variables":
        return _VARIABLES
    if name in _HOLDERS:
        return _HOLDING
    if name == "env":
        return _ENVIRONMENT
    if name == "fields":
        return _FIELDS
    return _HEADERS if name.lower() == "headers" else _OTHER


def _shown_member(name: str, role: int, value: str, kind: int, of_tool_server: bool) -> str:
    if kind == _HIDDEN or role == _SECRET or (kind == _HOLDER and name in _WITHIN_SECRETS):
        return REDACTED if value else value
    if role == _SERVER:
        return _shown_server(value)
    if role == _HEADERS and of_tool_server:
        return REDACTED
    return value if kind == _WRITTEN or role == _PROSE or len(value) < 8 else _shown_text(value)


def _kind_below(role: int, value: Any, kind: int, of_tool_server: bool, holder_type: object) -> int:
    if kind == _HIDDEN or (role == _HEADERS and of_tool_server):
        return _HIDDEN
    if role == _SECRET:
        return _HOLDER if type(value) is dict else _HIDDEN
    if role == _HOLDING or (role == _FIELDS and holder_type == "browser_authentication"):
        return _HOLDER
    if role == _ENVIRONMENT and holder_type != "exec" and type(value) is dict and "type" not in value:
        return _HIDDEN  # not that of a command that a model wrote, and no schema
    if role == _VARIABLES or (role == _PROSE and type(value) is list):
        return _WRITTEN
    return _PLAIN


def _is_secret(name: str) -> bool:
    return 6 <= len(name) <= 64 and name.lower().replace("_", "").replace("-", "") in _SECRET_NAMES


def _shown_text(text: str) -> str:
    """Return a string without what looks like a key; of one long word only its beginning is looked at."""
    if len(text) > _LONG and (text.startswith("data:") or _is_base64(text)):
        return REDACTED if KEY_LIKE.match(text) else text
    return scrubbed(_without_user(text) if "://" in text else text)


def _is_base64(text: str) -> bool:
    return text.isascii() and not text.encode("ascii").translate(None, _BASE64)


_user = re.compile(r"(?<=://)[^/@?#\s]+@")
_server = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)?(?:[^/@?#]*@)?([^/?#]*)([^?#]*)([?#].*)?", re.DOTALL)
_long_word = re.compile(r"(?<![^/])(?=[^/]*[0-9])[^/]{20,}")


def _without_user(text: str) -> str:
    return _user.sub(f"{REDACTED}@", text)


def _shown_server(url: str) -> str:
    """Return where a tool server is, without the user, the query and long words of the path: they are its keys."""
    found = _server.fullmatch(url)
    if found is None:
        return REDACTED
    path = _long_word.sub(REDACTED, found[3])
    return scrubbed(f"{found[1] or ''}{found[2]}{path}") + (f"{found[4][0]}{REDACTED}" if found[4] else "")


def is_laborious(text: bytes) -> bool:
    """Say whether JSON has so many values that looking into it would keep everybody else waiting. O(n)."""
    return text.count(b'"') > 2 * MOST_STRINGS or text.count(b"[") + text.count(b"{") > MOST_CONTAINERS


_string = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)("[ \t\r\n]*(:[ \t\r\n]*)?)?', re.DOTALL)
_decode_string = json.JSONDecoder(strict=False).decode


def torn_without_credentials(text: bytes) -> bytes:
    """Return JSON that was cut off somewhere without its credentials, by the same rules. O(n).

    Ends before the string that is one of too many (MOST_TORN_STRINGS).
    """
    parts: list[bytes] = []
    at, name = 0, ""
    strings = 0
    while (found := _string.search(text, at)) is not None:
        start, end = found.span()
        parts.append(text[at:start])
        strings += 1
        if strings > MOST_TORN_STRINGS:
            return b"".join(parts)
        at = end
        raw, closing, colon = found.groups()
        if colon is None:
            parts.append(_torn_value(name, raw, closing is None))
            if closing is not None:
                parts.append(closing)
            name = ""
            continue
        name = raw.decode("utf-8", "replace")
        parts.append(found[0])
        first = text[at : at + 1]
        if first in (b"{", b"[") and _may_hold_secrets(name):
            parts.append(f'"{REDACTED}"'.encode())
            try:
                at = value_end(text, at)
            except ValueError:
                at = len(text)
        elif first != b'"':
            name = name if first == b"[" else ""
    return b"".join([*parts, text[at:]])


def _may_hold_secrets(name: str) -> bool:
    return _is_secret(name) or name in _HOLDERS or name.lower() in ("headers", "env")


def _torn_value(name: str, raw: bytes, cut_off: bool) -> bytes:
    """Return a string with its opening quote, as it may be shown below this name."""
    if name and (_is_secret(name) or name.lower() == "headers"):
        return b'"' + REDACTED.encode()
    if cut_off and name not in _PROSE_NAMES and len(raw) < _LONGEST_KEY:
        return b'"' + REDACTED.encode()  # of a key that was cut off the look is not known
    if name in _PROSE_NAMES or len(raw) < 8:
        return b'"' + raw
    text = raw.decode("utf-8", "replace")
    if "\\" in text:
        try:
            text = str(_decode_string(f'"{text}"'))
        except ValueError:
            pass
    shown = _shown_server(text) if name == "server_url" else _shown_text(text)
    return b'"' + raw if shown == text else json.dumps(shown)[:-1].encode("ascii")


def without_texts(value: Any, secrets: Sequence[str]) -> Any:
    """Return decoded JSON with every occurrence of a secret in its strings and names blotted out."""
    if not secrets:
        return value
    top = [value]
    waiting: list[Any] = [top]
    while waiting:
        container = waiting.pop()
        if type(container) is dict:
            pairs = [(_blotted(name, secrets), _blotted(item, secrets)) for name, item in container.items()]
            container.clear()
            container.update(pairs)
            waiting += [item for _, item in pairs if type(item) is dict or type(item) is list]
        else:
            container[:] = [_blotted(item, secrets) for item in container]
            waiting += [item for item in container if type(item) is dict or type(item) is list]
    return top[0]


def _blotted(value: Any, secrets: Sequence[str]) -> Any:
    if type(value) is str:
        for secret in secrets:
            if secret in value:
                value = value.replace(secret, REDACTED)
    return value

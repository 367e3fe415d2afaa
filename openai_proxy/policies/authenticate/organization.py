"""Set the organization and project that an exchange is billed to.

OpenAI's API takes organization and project in headers, and , from browsers',
WebSockets, in subprotocols. Pure.
"""

from __future__ import annotations

from attrs import frozen

from ...exchange.record import HeaderPairs

ORGANIZATION = b"OpenAI-Organization"
PROJECT = b"OpenAI-Project"
ACCOUNT_HEADERS = frozenset((ORGANIZATION.lower(), PROJECT.lower()))
_SUBPROTOCOL = b"sec-websocket-protocol"


@frozen
class Account:
    """The organization and project that a client key sets.

    A value that is set replaces the client's. If none is set, the client's own
    is forwarded with `own_allowed`, and dropped without it.
    """

    organization: bytes | None = None
    project: bytes | None = None
    own_allowed: bool = False

    def on(self, headers: HeaderPairs) -> HeaderPairs:
        """Return `headers` with this account's lines in place of the client's."""
        fixed = [
            (name, value)
            for name, value in ((ORGANIZATION, self.organization), (PROJECT, self.project))
            if value
        ]
        dropped = {name.lower() for name, _ in fixed} if self.own_allowed else ACCOUNT_HEADERS
        kept: HeaderPairs = []
        for pair in headers:
            name = pair[0].lower()
            if name in dropped or (b"_" in name and name.replace(b"_", b"-") in dropped):
                continue  # some servers take both spellings for one
            if name == _SUBPROTOCOL:
                value = _without_items(pair[1], dropped)
                if value:
                    kept.append((pair[0], value))
            else:
                kept.append(pair)
        return [*kept, *fixed]


def _without_items(value: bytes, dropped: frozenset[bytes] | set[bytes]) -> bytes:
    """Return a list of subprotocols without items such as `openai-project.proj_1`."""
    if b"openai-" not in value.lower():
        return value
    items = [
        item for item in value.split(b",") if item.strip(b" \t").partition(b".")[0].lower() not in dropped
    ]
    return b",".join(items).strip(b" \t")

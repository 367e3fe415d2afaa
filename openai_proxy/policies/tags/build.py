"""Tags and end users: from settings to the stages that note them."""

from __future__ import annotations

from ...settings import Settings, client_keys
from .rules import TagValues
from .tag_requests import NameEndUser, TagRequests


def tag_requests(settings: Settings, values: TagValues) -> TagRequests | None:
    """Return the stage that notes tags, None if there are none."""
    own = {key.name: key.tags for key in client_keys(settings) if key.tags}
    if not settings.tags and not own:
        return None
    headers = {header.encode("ascii"): tag for tag, header in settings.tags}
    return TagRequests(headers, own, values, settings.tag_headers == "remove")


def name_end_user(settings: Settings) -> NameEndUser | None:
    """Return the stage that notes end users, None if it is off."""
    return None if settings.end_user == "off" else NameEndUser(settings.end_user == "hash")

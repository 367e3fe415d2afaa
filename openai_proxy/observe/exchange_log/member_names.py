"""What the names of members in JSON bodies say of their values. Pure."""

from __future__ import annotations

import re

PROSE_NAMES = frozenset(
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
DATA_NAMES = frozenset(
    ["url", "image_url", "file_url", "data", "file_data", "b64_json", "result", "encrypted_content"]
)
"""Members with addresses and data: long, and different each time, so that their strings are not remembered."""
HOLDERS = frozenset(("auth", "domain_secrets"))
"""Objects, or lists of them, with a credential and what it is for: in vaults, and in network policies."""


def is_secret(name: str) -> bool:
    """Whether a member of this name holds a credential."""
    return 6 <= len(name) <= 64 and name.lower().replace("_", "").replace("-", "") in _SECRET_NAMES

"""Refuse requests for ephemeral keys and sessions, whose traffic no rule of a key could see.

That traffic bypasses this proxy. Decides by the head of a request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping

from ...exchange.access_errors import NotMeasured
from ...exchange.messages import Forward, Kind, ProxyRequest, ProxyResponse
from .named_models import makes_session


class RefuseUnseen:
    """Raise NotMeasured for callers that have a rule.

    `rules` names the rule by `credential_id`, in words such as "a budget";
    `everybodys` is the rule of all callers that are not in `free`.
    """

    def __init__(self, rules: Mapping[str, str], everybodys: str | None, free: frozenset[str]) -> None:
        self._rules = dict(rules)
        self._everybodys = everybodys
        self._free = free

    def concerns(self, kind: Kind) -> bool:
        return not kind.upgrade and makes_session(kind.method, kind.named)

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        if (
            not request.upgrade
            and request.method == b"POST"
            and makes_session(request.method, request.endpoint)
        ):
            key = request.exchange.credential_id
            rule = self._rules.get(key) or (None if key in self._free else self._everybodys)
            if rule is not None:
                raise NotMeasured(
                    "openai-proxy cannot see what a session or an ephemeral key is used for, and this API key has"
                    f" {rule}."
                )
        return forward(request)

"""Let the client's own credentials go upstream unchanged.

One of the three ways to authenticate; see `inject` and `tenants`.
"""

from __future__ import annotations

from collections.abc import Awaitable

from ...exchange.access_errors import MissingCredentials
from ...exchange.messages import Forward, ProxyRequest, ProxyResponse
from .caller import Callers


class PassThrough:
    """Require credentials without judging them: the upstream does that.

    `refusal` is raised for a request without any; None lets it pass. All
    requests without credentials share one limit and one cache.
    """

    ANONYMOUS_ID = "anonymous"

    def __init__(
        self, callers: Callers | None = None, refusal: type[MissingCredentials] | None = MissingCredentials
    ) -> None:
        self._callers = callers or Callers()
        self._refusal = refusal

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        caller = self._callers.find(request.headers)
        payer = None if caller is None else caller.payer
        if payer is None:
            if self._refusal is not None:
                raise self._refusal
            payer = self.ANONYMOUS_ID
        request.credential = b"" if caller is None else caller.credential
        request.exchange.credential_id = payer
        return forward(request)

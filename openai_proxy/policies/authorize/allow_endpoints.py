"""Refuse endpoints that a caller may not use, and calls from addresses that its key may not be used from.

Decides by the head of a request, so no body is read before; a refusal counts
against no limit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence

from ...exchange.access_errors import AddressNotAllowed, EndpointNotAllowed
from ...exchange.client_address import Network, parse_address
from ...exchange.messages import Forward, ProxyRequest, ProxyResponse
from ...wire.endpoint_rules import EndpointAccess
from ...wire.headers import without

_MOST_SHOWN = 10
_METHODS = frozenset(
    (b"x-http-method-override", b"x-http-method", b"x-method-override", b"x-original-method")
)
"""Headers that some servers take for the method, in place of the request's own."""
_PATHS = frozenset((b"x-original-url", b"x-original-uri", b"x-rewrite-url"))
"""Headers that some servers take for the path; gateways write the path of the request itself into them."""
_LENGTHS = frozenset(map(len, _METHODS | _PATHS))


class AllowEndpoints:
    """Check the endpoint and client address of each request against the rules of its key.

    `access` and `addresses` are by `credential_id`; `others` applies to callers
    that are not in `access`. None allows everything. The method and the path of
    the request are checked, so headers that name others are not forwarded.
    """

    def __init__(
        self,
        access: Mapping[str, EndpointAccess],
        others: EndpointAccess | None = None,
        addresses: Mapping[str, Sequence[Network]] | None = None,
    ) -> None:
        self._access = dict(access)
        self._others = others
        self._addresses = dict(addresses or {})
        self._decisions: dict[tuple[int, bytes, str, bool], bool] = {}

    def __call__(self, request: ProxyRequest, forward: Forward) -> Awaitable[ProxyResponse]:
        key = request.exchange.credential_id
        networks = self._addresses.get(key)
        if networks is not None:
            self._check_address(request, networks)
        access = self._access.get(key, self._others)
        if access is not None and not self._allows(access, request):
            raise EndpointNotAllowed(_message(request, access))
        if access is not None:
            _drop_other_names(request)
        return forward(request)

    def _allows(self, access: EndpointAccess, request: ProxyRequest) -> bool:
        """Return whether the endpoint may be called; the result is cached for the few names that are called often."""
        # a turn of a WebSocket is allowed wherever the WebSocket may be opened
        method, websocket = (request.method, request.upgrade) if request.turn is None else (b"GET", True)
        asked = (id(access), method, request.endpoint, websocket)
        allowed = self._decisions.get(asked)
        if allowed is None:
            allowed = access.allows(method.decode("ascii"), request.endpoint, websocket)
            # only the API's own names are cached
            if len(self._decisions) < 1024 and request.exchange.endpoint != "other":
                self._decisions[asked] = allowed
        return allowed

    def _check_address(self, request: ProxyRequest, networks: Sequence[Network]) -> None:
        text = request.exchange.client_address
        address = parse_address(text) if text is not None else None
        if address is None or not any(address in network for network in networks):
            raise AddressNotAllowed


_OTHER = (
    "openai-proxy says which endpoints may be called here, and passes no header that names another method, such as"
    " X-HTTP-Method-Override: send the request itself."
)


def _drop_other_names(request: ProxyRequest) -> None:
    """Refuse a header that names another method, and drop one that names a path: only the request's own was checked.

    CGI and WSGI take an underscore for a hyphen.
    """
    found = [pair for pair in request.headers if len(pair[0]) in _LENGTHS]
    for name, value in found:
        lower = name.lower().replace(b"_", b"-")
        if lower in _METHODS and value.strip(b" \t").upper() != request.method:
            raise EndpointNotAllowed(_OTHER)
        if lower in _PATHS:
            request.headers = without(request.headers, name.lower())


def _message(request: ProxyRequest, access: EndpointAccess) -> str:
    # the client chooses the path: the message repeats only the API's own names
    name = request.exchange.endpoint
    method = "WebSocket" if request.upgrade else request.method.decode("ascii")
    own = access.own if access.own is not None else access.everybody
    entries = own.entries if own is not None else ()
    listed = ", ".join(entries[:_MOST_SHOWN]) + (", ..." if len(entries) > _MOST_SHOWN else "")
    allowed = f" It may call: {listed}." if listed else ""
    return (
        f"openai-proxy does not let this API key call {method} {name}.{allowed} The operator can add the"
        " endpoint to `endpoints` of the key, or to access.endpoints."
    )

"""The failures of upstreams, with what the rules of retries must know of them. Pure."""

from __future__ import annotations

from .errors import ProxyError
from .outcome import Outcome


class UpstreamError(ProxyError):
    """Base of the failures of an upstream.

    `kind` is the metric's label. `sent` says how far the request got, for
    the retry rules: "no" (no connection was made), "stale" (a reused
    connection died before any byte of a response), "yes" (anything else).
    `may_heal` is False if another try at the same upstream would fail
    the same way, as with a certificate that expired. `detail` is for the
    logs only: host and port, and the system's own error.
    """

    status, reason = 502, b"Bad Gateway"
    type, code = "upstream_error", "upstream_unreachable"
    outcome = Outcome.UPSTREAM_ERROR
    default_message = "The upstream could not be reached."

    def __init__(
        self,
        message: str | None = None,
        *,
        kind: str = "unreachable",
        sent: str = "yes",
        may_heal: bool = True,
        detail: str = "",
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.sent = sent
        self.may_heal = may_heal
        self.detail = detail

    @property
    def log_text(self) -> str:
        """The text for the logs: the message, and the detail that clients do not see."""
        return f"{self.message} ({self.detail})" if self.detail else self.message


class UpstreamUnreachable(UpstreamError):
    pass


class UpstreamTLSError(UpstreamError):
    code = "upstream_tls_error"
    default_message = "The TLS connection to the upstream failed."


class UpstreamProtocolError(UpstreamError):
    code = "upstream_protocol_error"
    default_message = "The upstream's answer is not valid HTTP."

    @classmethod
    def because(cls, reason: str) -> UpstreamProtocolError:
        """Return the error of an answer that is not valid HTTP, with the reason in words of our own or of the parser's."""
        return cls(f"{cls.default_message[:-1]}: {reason}.", kind="protocol")


class UpstreamTimeout(UpstreamError):
    status, reason = 504, b"Gateway Timeout"
    code = "upstream_timeout"
    outcome = Outcome.TIMEOUT
    default_message = "The upstream did not answer in time."


class HomeUnreachable(UpstreamError):
    """The one upstream that could answer cannot be reached: shown as NoUpstreamAvailable, retried like `cause`.

    `message` is for the client; the text of `cause` is for the logs.
    """

    status, reason = 503, b"Service Unavailable"
    type, code = "service_unavailable_error", "no_upstream_available"

    def __init__(self, message: str, cause: UpstreamError, *, retry_after_s: int) -> None:
        super().__init__(
            message, kind=cause.kind, sent=cause.sent, may_heal=cause.may_heal, detail=cause.log_text
        )
        self.headers = ((b"retry-after", b"%d" % retry_after_s),)

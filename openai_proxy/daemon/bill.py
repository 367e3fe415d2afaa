"""The usage of one run of the proxy: an observer that adds up its exchanges."""

from __future__ import annotations

from twisted.logger import LogEvent

from ..cost.day_rows import Totals
from ..exchange.outcome import Outcome
from ..exchange.record import Exchange

_REFUSED = (Outcome.REJECTED, Outcome.LIMIT)


class Bill:
    """Counts every exchange with the API; those that this proxy refused used nothing."""

    needs_usage = True

    def __init__(self) -> None:
        self.totals = Totals()
        self.refused_requests = 0

    def __call__(self, event: LogEvent) -> None:
        exchange: Exchange = event["exchange"]
        if not exchange.endpoint:
            return
        if exchange.outcome in _REFUSED:
            self.refused_requests += 1
        else:
            self.totals.count(exchange)

    def line(self) -> str:
        """Return the bill: `3 requests, 1,234 tokens in, 56 out, $0.0012`."""
        totals = self.totals
        requests = _counted(totals.requests + self.refused_requests)
        remarks = [
            f"{totals.cached_requests:,} from the cache" if totals.cached_requests else "",
            f"{self.refused_requests:,} refused" if self.refused_requests else "",
        ]
        remark = ", ".join(filter(None, remarks))
        return (
            f"{requests}{f' ({remark})' if remark else ''}, {totals.input_tokens:,} tokens in,"
            f" {totals.output_tokens:,} out, {self._cost()}"
        )

    def _cost(self) -> str:
        cost, unpriced = self.totals.cost_usd, self.totals.unpriced_requests
        amount = f"${cost:.4f}" if cost == 0.0 or cost >= 0.01 else f"${cost:.6f}"
        if not unpriced:
            return amount
        unknown = f"unknown for {_counted(unpriced)}"
        return f"{amount} and {unknown}" if cost else f"cost {unknown}"


def _counted(requests: int) -> str:
    return f"{requests:,} request{'' if requests == 1 else 's'}"

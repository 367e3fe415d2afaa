"""The totals by tag and by end user behind `/admin/usage`: an observer of the exchanges.

Kept as the totals by key and model are. A budget never goes by them.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.logger import LogEvent

from ..exchange.record import Exchange
from .budget import day_name
from .day_rows import OTHER, DayRows, DayTable
from .totals import REFUSED

END_USER = "end_user"


class TagTotals(DayRows):
    """Counts exchanges by day and tag, and by day and end user; those without either cost a look.

    The names of a row are the tag (`end_user` for an end user) and its value.
    """

    def __init__(self, timers: IReactorTime) -> None:
        super().__init__(
            timers, DayTable("tag_usage", "tag", "value"), lambda place: (place[0], place[1], OTHER)
        )

    def __call__(self, event: LogEvent) -> None:
        exchange: Exchange = event["exchange"]
        tags, user = exchange.tags, exchange.end_user
        if (not tags and user is None) or exchange.outcome in REFUSED or not exchange.endpoint:
            return
        day = day_name(exchange.timestamp)
        for tag, value in tags:
            self.row((day, tag, value)).count(exchange)
        if user is not None:
            self.row((day, END_USER, user)).count(exchange)
        self.write_soon()

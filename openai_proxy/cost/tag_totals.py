"""The totals by tag and by end user for `/admin/usage`: an observer of the exchanges.

They are kept like the totals by key and model. No budget uses them.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.logger import LogEvent

from ..exchange.record import Exchange
from .budget import day_name
from .day_rows import OTHER, DayRows, DayTable
from .totals import REFUSED

END_USER = "end_user"
MOST_USERS = 10_000
"""The number of end users per day that a process counts separately, first come first; the rest is `other`."""


class TagTotals(DayRows):
    """Counts exchanges by day and tag, and by day and end user; an exchange without either is skipped.

    The names of a row are the tag (`end_user` for an end user) and its value.
    """

    def __init__(self, timers: IReactorTime) -> None:
        super().__init__(timers, DayTable("tag_usage", "tag", "value"), lambda key: (key[0], key[1], OTHER))
        self._users: dict[str, set[str]] = {}
        """The end users of the two latest days: clients choose the names, and a file keeps every row."""

    def __call__(self, event: LogEvent) -> None:
        exchange: Exchange = event["exchange"]
        tags, user = exchange.tags, exchange.end_user
        if (not tags and user is None) or exchange.outcome in REFUSED or not exchange.endpoint:
            return
        day = day_name(exchange.timestamp)
        for tag, value in tags:
            self.row((day, tag, value)).count(exchange)
        if user is not None:
            self.row((day, END_USER, self._told_apart(day, user))).count(exchange)
        self.write_soon()

    def _told_apart(self, day: str, user: str) -> str:
        users = self._users.get(day)
        if users is None:
            users = self._users[day] = set()
            if len(self._users) > 2:
                del self._users[min(self._users)]
        if user not in users:
            if len(users) >= MOST_USERS:
                return OTHER
            users.add(user)
        return user

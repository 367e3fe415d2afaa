"""How often the metrics page is made anew: as often as readers ask, within a share of the time.

Whoever reads `/metrics` in a loop must not slow those down who are served.
Pure but for the clock that it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from prometheus_client.exposition import choose_encoder

from ...exchange.bounded_memo import BoundedMemo

Page: TypeAlias = tuple[str, bytes]
"""Content type and body."""

SHARE = 0.05
"""The part of the time that may go into pages, in the long run."""
BURST_S = 0.1
"""The most time for pages in a row after a rest: dozens of small pages."""
_LONGEST_S = 0.5
"""A page counts for this much at most: one that waited for a worker was no work of ours."""
_FORMS_KEPT = 8


class Scrapes:
    """Keeps the last page of each format, and how much time pages have taken.

    A reader gets a new page while time is left (`BURST_S` after a rest,
    regained at `SHARE` seconds a second), else the last one of its format.
    So a page of 1 ms is never older than 20 ms, one of 30 ms never older
    than 0.6 s. Holds one page for each of the few formats there are.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left_s = BURST_S
        self._counted_at = clock()
        self._pages: BoundedMemo[str, Page] = BoundedMemo(_FORMS_KEPT)

    def maybe_last(self, accept: bytes) -> Page | None:
        """Return the last page for an `Accept` value if no time is left for a new one."""
        now = self._clock()
        self._left_s = min(BURST_S, self._left_s + SHARE * (now - self._counted_at))
        self._counted_at = now
        return None if self._left_s > 0 else self._pages.get(form_of(accept))

    def made(self, accept: bytes, page: Page, took_s: float) -> Page:
        """Note a new page and the time that it took; return it."""
        self._left_s -= min(took_s, _LONGEST_S)
        self._pages.remember(form_of(accept), page, 0)
        return page

    def page(self, accept: bytes, render: Callable[[bytes], Page]) -> Page:
        """Return the last page, or a new one by `render(accept)`."""
        last = self.maybe_last(accept)
        if last is not None:
            return last
        began = self._clock()
        page = render(accept)
        return self.made(accept, page, self._clock() - began)


def form_of(accept: bytes) -> str:
    """Return the content type of the page that an `Accept` value gets; there are few."""
    return choose_encoder(accept.decode("latin-1"))[1]

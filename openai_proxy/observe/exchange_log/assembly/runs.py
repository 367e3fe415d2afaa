"""Runs of events that only continue a text, each made one event.

For the assembly of streams: nearly every event differs from the one before
in a few bytes of text. Those are cut out and joined, and their events never
decoded: that takes a fifth of the time. Pure.
"""

from __future__ import annotations

from functools import partial
from operator import itemgetter

from .texts import A_TEXT, TEXT, are_texts, only_continues
from .word_runs import SHORTEST_RUN, Join, join_first, likeness_with_words

_LONGEST_RUN = 256
_TRIES = 8
_EVENTS_FOR_A_TRY = 32
"""The number of joined events that pay for another try: no stream costs much more than without all this."""


def shortened(events: list[bytes]) -> list[bytes]:
    """Return fewer events that are put together to the very same object.

    Takes and gives each event's data. O(n) over the stream.
    """
    kept: list[bytes] = []
    at, tries, end = 0, _TRIES, len(events)
    while tries > 0 and end - at >= SHORTEST_RUN:
        join = _likeness(events[at], events[at + 1])
        run = join(events[at : at + _LONGEST_RUN]) if join is not None else None
        if run is None:
            kept.append(events[at])
            at += 1
            tries -= 1
        else:
            event, length = run
            kept.append(event)
            at += length
            tries += length // _EVENTS_FOR_A_TRY
    return kept + events[at:]


def _likeness(one: bytes, other: bytes) -> Join | None:
    """Return what joins events like these two; None if that would change what they add up to."""
    text = TEXT.search(one)
    if text is None:
        return None
    left, right = one[: text.start(1)], one[text.end(1) :]
    if not other.startswith(left) or not other.endswith(right):
        return likeness_with_words(left, right, other)
    event = left + A_TEXT + right
    if event.count(b"~") != 2 or not only_continues(event):  # a `~` of its own might look like a filling
        return None
    return partial(_join_texts, left, right)  # as in the streams of most servers


def _join_texts(left: bytes, right: bytes, events: list[bytes]) -> tuple[bytes, int] | None:
    def fits(event: bytes) -> bool:
        return event.startswith(left) and event.endswith(right)

    return join_first(events, fits, partial(_with_all_texts, left, right))


def _with_all_texts(left: bytes, right: bytes, events: list[bytes]) -> bytes | None:
    """Join events of which the first begins with `left` and the last ends with `right`."""
    start, stop = len(left), -len(right)
    texts = list(map(itemgetter(slice(start, stop)), events))
    # As long as the events, and the same, only if each has both sides.
    middle, whole = (right + left).join(texts), b"".join(events)
    if len(middle) + start - stop != len(whole) or not whole.startswith(middle, start):
        return None
    joined = b"".join(texts)
    return left + joined + right if are_texts(texts, joined) else None

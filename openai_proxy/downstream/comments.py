"""Comments that keep a silent stream of events alive.

Some balancers and clients cut what says nothing for a minute. A comment is
one line that starts with a colon, at the boundary between two events
(WHATWG HTML §9.2.6). No blank line follows it: openai-python takes one
after an event with an `id` for another event.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

COMMENT = b": keep-alive\n"
CHUNK = b"%x\r\n%b\r\n" % (len(COMMENT), COMMENT)
"""The comment as a chunk of a chunked body."""
_BOUNDARIES = (b"\n\n", b"\n\r\n", b"\r\r")
_CARRIED_BYTES = 64
LAST_EVENT = re.compile(
    rb"(?:^|[\r\n])(?:data:[ ]?\[DONE\]"
    rb"|(?:event:[ ]?|data:[ ]?\{\"type\":[ ]?\")(?:response\.(?:completed|incomplete|failed|cancelled)"
    rb"|transcript\.text\.done|speech\.audio\.done|error|message_stop)\b)"
)
"""The event after which readers of a stream close, though its end is still to come."""


class Comments:
    """Writes a comment whenever a stream has been silent for `every_s` seconds, until its last event.

    `write` takes a chunk; `may_write` says whether the client takes any.
    `call_later` returns something with `cancel`.
    """

    def __init__(
        self,
        every_s: float,
        clock: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], Any],
        write: Callable[[bytes], None],
        may_write: Callable[[], bool],
    ) -> None:
        self._every_s = every_s
        self._clock = clock
        self._call_later = call_later
        self._write = write
        self._may_write = may_write
        self._tail = b"\n\n"
        """The end of what has passed."""
        self._passed_at = clock()
        self._timer: Any = call_later(every_s, self._look)

    def passed(self, data: bytes) -> None:
        """Note bytes of the stream that go to the client."""
        self._passed_at = self._clock()
        joined = self._tail + data
        if LAST_EVENT.search(joined) is not None:
            self.stop()
        self._tail = joined[-_CARRIED_BYTES:]

    def stop(self) -> None:
        """Write no more; idempotent."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _look(self) -> None:
        self._timer = None
        silent_s = self._clock() - self._passed_at
        if silent_s >= self._every_s:
            silent_s = 0.0
            if self._tail.endswith(_BOUNDARIES) and self._may_write():
                self._write(CHUNK)
        self._timer = self._call_later(self._every_s - silent_s, self._look)

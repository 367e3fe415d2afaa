"""What supervisor and workers tell each other, by name.

Values only; imported by both sides.
"""

from __future__ import annotations

from attrs import field, frozen

from ..settings import Settings

# the supervisor tells
START = "start"
"""`Start`: the first message; make the service and accept."""
ACCEPT = "accept"
"""The sockets listen now."""
COMMIT = "commit"
"""Use what was prepared."""
DISCARD = "discard"
"""Forget what was prepared."""
DRAIN = "drain"
"""Finish what runs, then end."""
ABORT = "abort"
"""End now."""
REOPEN = "reopen"
"""Open the observers' files anew."""
LIVE_WATCHED = "live watched"
"""Whether somebody reads the live view: then it wants progress too, and often."""
LIVE_NEWS = "live news"
"""`Changes` of some worker, for those who read here."""
LIVE_STATS = "live stats"
"""How all workers do, for those who read here."""

# the supervisor asks
PREPARE = "prepare"
"""Settings: build everything for them; answered, or refused, before anything changes."""
KEYS = "keys"
"""The name of a client key whose exchanges are to be cut, or None: look at the key store now; answered then."""
LIVE_RUNNING = "live running"
"""`Wanted`; answered with the worker's rows that run, and how many run."""
LIVE_OWN = "live own"
"""An id; answered with all that the worker knows of that exchange, or None."""
LIVE_STOP = "live stop"
"""An id; answered with whether such an exchange ran and is cancelled."""
COLLECT = "collect"
"""The worker's metrics as they are now: a `Snapshot`."""
IN_FLIGHT = "in_flight"
"""The requests that the worker has at each upstream, by name."""

# a worker tells
READY = "ready"
"""Its service is started; it accepts as soon as the sockets listen."""
DRAINING = "draining"
"""It accepts no more; it was told to, or got a SIGTERM of its own."""
FAILED = "failed"
"""One line: why it cannot start."""
LOG = "log"
"""`LogLine`."""
COUNTS = "counts"
"""A `Snapshot` without being asked, so that little is lost when it is killed."""
FINISH = "finish"
"""(admission, model tokens): see `limits.store`."""
CANCEL = "cancel"
"""An admission that is taken back."""
SETTLE = "settle"
"""(admission, model tokens), of a request that was admitted elsewhere."""

CACHE_PUT = "cache-put"
"""(key, `Found`): an answer that was stored."""
CACHE_FORGET = "cache-forget"
"""A family of answers that nobody shall get any more; told by the supervisor to the workers as well."""
HEALTH = "health"
"""`routing.health.News`: what it has found out of an upstream; the supervisor tells the other workers."""
CALL_OFFERED = "call-offered"
"""The name of a call that others may share; see `policies.cache.elsewhere`."""
CALL_CLOSED = "call-closed"
"""Its name: nobody can share it any more."""
KEEP_STATE = "keep_state"
"""(names, home, seconds): where state lives that an answer has made; see `policies.routing.known_state`."""
LIVE = "live"
"""`Changes`: what happened to its exchanges, for the live view."""
WATCH = "watch"
"""Whether somebody reads the live view there."""

# a worker asks
LIVE_LIST = "live list"
"""`Wanted`; answered with the `Listing` of all workers."""
LIVE_ONE = "live one"
"""As LIVE_OWN, of whichever worker has it."""
LIVE_CANCEL = "live cancel"
"""As LIVE_STOP, of whichever worker has it."""
LIVE_SNAPSHOT = "live snapshot"
"""Nothing; answered with the document that a reader of the live view begins with."""
CALL_FIND = "call-find"
"""The name of a call; answered with whether another worker has it, whose answer can be read then."""
CALL_CLAIM = "call-claim"
"""As CALL_FIND; if no other worker has it, this one has it from then on."""
FIND_STATE = "find_state"
"""Names; answered with the homes of those that are known."""
COUNT = "count"
"""Answered with the requests that all workers have at each upstream, by name."""
SCRAPE = "scrape"
"""An Accept header; answered with content type and body of the page of all workers."""
KEYS_CHANGED = "keys changed"
"""As `KEYS`, for all other workers; answered when they have looked."""
ADMIT = "admit"
"""(key, limits, model tokens, slot); answered with an Admission."""
CACHE_GET = "cache-get"
"""A key; answered with `Found` or None."""


@frozen
class Start:
    """What a worker is told first."""

    settings: Settings = field(repr=False)
    workers: int
    """How many there are: limits on what is open at once are divided."""
    sockets: tuple[int, ...]
    """Descriptors of the listening sockets: one for each of `settings.ports`, then that of `admin.port`."""
    handover: int
    """Descriptor of the socket over which connections to other workers are given; see `shared_calls`."""
    started_at: float
    """When the supervisor started, in monotonic seconds."""


@frozen
class Found:
    """An answer of the embedded cache, as `entry.dump_entry` writes it."""

    data: bytes = field(repr=False)
    ttl_s: float
    family: bytes | None


@frozen
class LogLine:
    """One event of a worker's log, formatted."""

    time: float
    level: str
    namespace: str
    text: str

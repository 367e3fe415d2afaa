"""The names of the messages between supervisor and workers.

Values only; imported by both sides.
"""

from __future__ import annotations

from attrs import field, frozen

from ..settings import Settings

# messages from the supervisor
START = "start"
"""`Start`: the first message; make the service and accept."""
ACCEPT = "accept"
"""The sockets are listening now."""
COMMIT = "commit"
"""Use the prepared settings."""
DISCARD = "discard"
"""Drop the prepared settings."""
DRAIN = "drain"
"""Let running exchanges finish, then end."""
ABORT = "abort"
"""End now."""
REOPEN = "reopen"
"""Reopen the observers' files."""
LIVE_WATCHED = "live watched"
"""Whether somebody reads the live view: then progress is reported too, and more often."""
LIVE_NEWS = "live news"
"""`Changes` of some worker, for readers at this one."""
LIVE_STATS = "live stats"
"""The figures of all workers, for readers at this one."""

# requests from the supervisor
PREPARE = "prepare"
"""Settings: build everything for them; answered or refused before anything changes."""
KEYS = "keys"
"""The name of a client key whose exchanges are to be cut, or None: read the key store now; answered afterwards."""
LIVE_RUNNING = "live running"
"""`Wanted`; answered with the worker's running rows, and their number."""
LIVE_OWN = "live own"
"""An id; answered with everything that the worker has about that exchange, or None."""
LIVE_STOP = "live stop"
"""An id; answered with whether such an exchange was running and has been cancelled."""
COLLECT = "collect"
"""The worker's metrics as they are now: a `Snapshot`."""
IN_FLIGHT = "in_flight"
"""The requests that the worker has at each upstream, by name."""

# messages from a worker
READY = "ready"
"""Its service has started; it accepts connections as soon as the sockets listen."""
DRAINING = "draining"
"""It accepts no more connections, because of DRAIN or a SIGTERM of its own."""
FAILED = "failed"
"""One line: why it cannot start."""
LOG = "log"
"""`LogLine`."""
COUNTS = "counts"
"""A `Snapshot`, sent unasked, so that little is lost if the worker is killed."""
FINISH = "finish"
"""(admission, model tokens): see `limits.store`."""
CANCEL = "cancel"
"""An admission that is taken back."""
SETTLE = "settle"
"""(admission, model tokens), of a request that was admitted by another store."""

CACHE_PUT = "cache-put"
"""(key, `Found`): an answer that was stored."""
CACHE_FORGET = "cache-forget"
"""A family of answers to drop; the supervisor sends it to the workers as well."""
HEALTH = "health"
"""`routing.health.News`: a change in the health of an upstream; the supervisor passes it to the other workers."""
CALL_OFFERED = "call-offered"
"""The name of a call that others may share; see `policies.cache.other_calls`."""
CALL_CLOSED = "call-closed"
"""The name of a call that can no longer be shared."""
KEEP_STATE = "keep_state"
"""(names, home, seconds): the upstream of state that an answer has created; see `policies.routing.state_homes`."""
LIVE = "live"
"""`Changes`: what happened to its exchanges, for the live view."""
WATCH = "watch"
"""Whether somebody reads the live view at that worker."""

# requests from a worker
LIVE_LIST = "live list"
"""`Wanted`; answered with the `Listing` of all workers."""
LIVE_ONE = "live one"
"""As LIVE_OWN, for the worker that has it."""
LIVE_CANCEL = "live cancel"
"""As LIVE_STOP, for the worker that has it."""
LIVE_SNAPSHOT = "live snapshot"
"""No value; answered with the first document for a reader of the live view."""
CALL_FIND = "call-find"
"""The name of a call; answered with whether another worker has it, so that its answer can be read."""
CALL_CLAIM = "call-claim"
"""As CALL_FIND; if no other worker has it, this one owns it from then on."""
FIND_STATE = "find_state"
"""Names; answered with the homes of those that are stored."""
COUNT = "count"
"""Answered with the requests that all workers have at each upstream, by name."""
SCRAPE = "scrape"
"""An Accept header; answered with content type and body of the page of all workers."""
KEYS_CHANGED = "keys changed"
"""As `KEYS`, for all other workers; answered when they have read the store."""
ADMIT = "admit"
"""(key, limits, model tokens, slot); answered with an Admission."""
CACHE_GET = "cache-get"
"""A key; answered with `Found` or None."""


@frozen
class Start:
    """The first message to a worker."""

    settings: Settings = field(repr=False)
    workers: int
    """The number of workers, among which some limits are divided."""
    sockets: tuple[int, ...]
    """Descriptors of the listening sockets: one for each of `settings.ports`, then that of `admin.port`."""
    handover: int
    """Descriptor of the socket that passes connections to other workers; see `shared_calls`."""
    started_at: float
    """When the supervisor started, in monotonic seconds."""


@frozen
class Found:
    """An answer from the embedded cache, serialised by `entry.dump_entry`."""

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

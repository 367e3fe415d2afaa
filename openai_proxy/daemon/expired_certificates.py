"""A line for each certificate in use that has expired: listeners' and client certificates, at each start and reload."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

from ..net.certificate_dates import end_of, ends_of
from ..settings import Settings


def expired_certificates(settings: Settings, clock: Callable[[], float] = time.time) -> Iterator[str]:
    """Yield the lines; `clock` gives seconds since the epoch. Files that cannot be read are left out."""
    now = clock()
    # `admin.port` may have one, too
    ports = [*settings.ports, *([settings.admin.port] if settings.admin.port else [])]
    for port, end in ends_of(ports).items():
        if end <= now:
            yield f"the certificate of {port} expired on {_day(end)}: clients refuse it"
    named = [("upstream", settings.upstream.client_cert)]
    named += [(f"upstreams[{at}]", entry.client_cert) for at, entry in enumerate(settings.upstreams)]
    for table, file in named:
        end_s = end_of(Path(file)) if file else None
        if end_s is not None and end_s <= now:
            yield f"{table}.client_cert: {file} expired on {_day(end_s)}: the upstream refuses it"


def _day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d}"

"""Lines about what a configuration keeps from whom, for the log and for --check-config.

The start tells each in one line; a reload only what was not so before.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..policies.authenticate.whose_key import keyless_upstreams
from ..policies.fences.build import defaulted_keys, fenced_keys, shared_objects
from ..settings import Settings

_MOST_NAMED = 5


def full_notes(settings: Settings) -> Iterator[str]:
    """Yield every line with all that it means, for whoever asks for it with --check-config."""
    yield from keyless_upstreams(settings)
    yield from fenced_keys(settings)
    yield from shared_objects(settings)


def start_notes(settings: Settings) -> Iterator[str]:
    """Yield the lines of a start: of keys that a default restrains only who they are."""
    yield from keyless_upstreams(settings)
    names = defaulted_keys(settings)
    if names:
        named = ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
        count = f"{len(names)} key{'s' if len(names) > 1 else ''}"
        yield f"{count} without `endpoints` may call @metered only ({named}); --check-config says what that is"
    yield from shared_objects(settings)


def new_notes(old: Settings, new: Settings) -> list[str]:
    """Return those of the lines of `new` that are news after `old`."""
    known = set(start_notes(old))
    return [line for line in start_notes(new) if line not in known]

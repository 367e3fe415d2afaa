"""Divide limits of the whole daemon among the workers."""

from __future__ import annotations

from ..settings import Settings

DIVIDED = ("connections", "in_flight")
"""Limits on the number of open things, whose shares add up to the limit exactly."""


def share(total: int, number: int, workers: int) -> int:
    """Return the share of worker `number` (the first is 1) of `workers` in `total`.

    >>> [share(10, number, 4) for number in (1, 2, 3, 4)]
    [3, 3, 2, 2]
    """
    return total // workers + (number <= total % workers)


def check_shares(settings: Settings) -> None:
    """Raise SettingsError for a limit that leaves a worker with nothing."""
    for name in DIVIDED:
        total = getattr(settings.limits, name)
        if total is not None and total < settings.workers:
            raise settings.error(
                f"limits.{name}", f"{total} cannot be divided between {settings.workers} workers"
            )


def divided(settings: Settings, number: int, workers: int) -> Settings:
    """Return the settings with the shares of worker `number` of `workers`."""
    limits = {name: getattr(settings.limits, name) for name in DIVIDED}
    shares = {name: share(total, number, workers) for name, total in limits.items() if total is not None}
    return settings.model_copy(update={"limits": settings.limits.model_copy(update=shares)})

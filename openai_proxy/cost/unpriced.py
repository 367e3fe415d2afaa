"""Find models that a key with a budget may use and that have no known price."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ..settings import Settings
from .pricing import Pricing

_GLOB = frozenset("*?[")
_MOST_NAMED = 5


def unpriced_models(settings: Settings, pricing: Pricing | None) -> Iterator[str]:
    """Yield a line for each key whose budget cannot count some of its models.

    Checks the names that the key's list and `[[models]]` contain literally; the
    models that a glob matches are only known when they are requested.
    """
    if pricing is None:
        return
    now = time.time()
    named = [entry.match for entry in settings.models]
    for index, key in enumerate(settings.keys):
        if key.budget_usd is None:
            continue
        models = dict.fromkeys(model for model in (key.models or named) if _GLOB.isdisjoint(model))
        unpriced = [model for model in models if not pricing.is_priced(model, None, now)]
        if unpriced:
            listed = ", ".join(unpriced[:_MOST_NAMED]) + (", ..." if len(unpriced) > _MOST_NAMED else "")
            yield (
                f"keys[{index}] ({key.name}) has a budget, but no price is known of: {listed};"
                " add [[cost.prices]] for them"
            )

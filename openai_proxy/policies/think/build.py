"""From settings to the stage that removes the thoughts of models."""

from __future__ import annotations

import glob
from typing import Any

from ...exchange.buffered_bytes import BufferedBytes
from ...settings import Settings
from ...settings.sections import Think
from ...settings.tables import ThinkEntry
from .splitter import ThinkRule
from .strip_think import StripThink


def strip_think(settings: Settings, buffered: BufferedBytes) -> StripThink | None:
    """Return the stage that removes thoughts, None if no model has a rule for them."""
    everywhere = settings.think
    models = [(m.match, _think_rule(everywhere, m.think)) for m in settings.models if m.think is not None]
    rule = _think_rule(everywhere, None)
    if not rule.active and not any(own.active for _, own in models):
        return None
    served_as = [
        (glob.escape(m.upstream_model), _think_rule(everywhere, m.think))
        for m in settings.models
        if m.think is not None and m.upstream_model is not None
    ]
    return StripThink(rule, models, served_as, buffered)


def _think_rule(everywhere: Think, own: ThinkEntry | None) -> ThinkRule:
    def value(name: str) -> Any:
        mine = getattr(own, name, None)
        return getattr(everywhere, name) if mine is None else mine

    return ThinkRule(
        value("mode"),
        value("start_tag"),
        value("end_tag"),
        value("trim"),
        value("where"),
        value("implicit_start"),
    )

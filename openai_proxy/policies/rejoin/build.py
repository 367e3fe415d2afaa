"""From settings to the stage that lets calls continue without their client."""

from __future__ import annotations

from fnmatch import fnmatchcase

from ...exchange.messages import ProxyRequest
from ...settings import Settings, client_keys
from ..cache.recording_memory import RecordingMemory
from ..parts import Parts
from .rejoin import Rejoin

FINISH = "finish"


class Finishes:
    """Decides whether a call continues: by the setting of its key, else of its model, else the general one.

    `keys` are by `credential_id`; among `models` an exact name takes precedence
    over the first glob.
    """

    def __init__(self, everybody: bool, keys: dict[str, bool], models: list[tuple[str, bool]]) -> None:
        self._everybody = everybody
        self._keys = keys
        self._models = models
        self._exact = dict(reversed(models))

    @property
    def never(self) -> bool:
        """Whether no call ever continues."""
        return not (self._everybody or any(self._keys.values()) or any(each for _, each in self._models))

    def __call__(self, request: ProxyRequest) -> bool:
        own = self._keys.get(request.exchange.credential_id)
        if own is not None:
            return own
        model = request.model
        if model is None or not self._models:
            return self._everybody
        exact = self._exact.get(model)
        if exact is not None:
            return exact
        return next((each for match, each in self._models if fnmatchcase(model, match)), self._everybody)


def rejoin(settings: Settings, parts: Parts, memory: RecordingMemory) -> Rejoin | None:
    """Return the stage, None if every call ends with its client."""
    finishes = Finishes(
        settings.on_disconnect == FINISH,
        {key.name: key.on_disconnect == FINISH for key in client_keys(settings) if key.on_disconnect},
        [(m.match, m.on_disconnect == FINISH) for m in settings.models if m.on_disconnect],
    )
    if finishes.never:
        return None
    return Rejoin(finishes, settings.rejoin_s, settings.rejoin_bytes, parts.reactor, parts.calls, memory)

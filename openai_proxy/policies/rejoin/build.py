"""Whose calls go on without their client: from settings to the stage."""

from __future__ import annotations

from fnmatch import fnmatchcase

from ...exchange.messages import ProxyRequest
from ...settings import Settings, client_keys
from ..cache.room import Room
from ..parts import Parts
from .rejoin import Rejoin

FINISH = "finish"


class Finishes:
    """Says whether a call goes on: by what its key says, else its model, else everybody.

    `keys` are by `credential_id`; of `models` the exact name counts before the first glob.
    """

    def __init__(self, everybody: bool, keys: dict[str, bool], models: list[tuple[str, bool]]) -> None:
        self._everybody = everybody
        self._keys = keys
        self._models = models
        self._exact = dict(reversed(models))

    @property
    def never(self) -> bool:
        """Whether no call goes on."""
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


def rejoin(settings: Settings, parts: Parts, room: Room) -> Rejoin | None:
    """Return the stage, None if every call ends with its client."""
    finishes = Finishes(
        settings.on_disconnect == FINISH,
        {key.name: key.on_disconnect == FINISH for key in client_keys(settings) if key.on_disconnect},
        [(m.match, m.on_disconnect == FINISH) for m in settings.models if m.on_disconnect],
    )
    if finishes.never:
        return None
    return Rejoin(finishes, settings.rejoin_s, settings.rejoin_bytes, parts.reactor, parts.calls, room)

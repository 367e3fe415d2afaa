"""Parameters of models: from settings to the stage that sets them."""

from __future__ import annotations

from ...exchange.messages import Stage
from ...settings import Settings
from .override import Override
from .params import ModelParams, from_table, from_text


def override(settings: Settings) -> Stage | None:
    """Return the stage that sets parameters, None if there are none. Raises SettingsError."""
    rules = model_params(settings)
    return Override(rules) if rules else None


def model_params(settings: Settings) -> list[ModelParams]:
    """Return the parameters for each model; later rules take precedence over earlier ones. Raises SettingsError."""
    rules: list[ModelParams] = []
    for number, model in enumerate(settings.models):
        if model.params or model.default_params:
            try:
                rules.append(from_table(model.match, model.params, model.default_params, model.endpoints))
            except ValueError as error:
                raise settings.error(f"models[{number}]", str(error)) from None
    if settings.llm_params:
        try:
            rules += from_text(
                settings.llm_params
            )  # last, so that the variable takes precedence over the file
        except ValueError as error:
            raise settings.error("llm_params", str(error)) from None
    return rules

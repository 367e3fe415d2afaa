"""One typed, validated, frozen `Settings` from four sources.

The sources are the command line, the environment, `.env` and TOML; the first
that has a setting takes precedence. Secrets are not printed. Imported only by
tap and service; a stage receives the values it needs as arguments.
"""

from .describe import describe
from .dotenv_file import has_dotenv
from .endpoints import check_endpoints
from .errors import SettingsError
from .load import load_settings
from .model import Settings
from .reference import Row, settings_reference
from .tables import (
    CacheRule,
    GroupEntry,
    KeyEntry,
    KeyLimits,
    ModelEntry,
    PriceEntry,
    ThinkEntry,
    UpstreamEntry,
)
from .tenants import ClientKey, Mode, client_key, client_keys, configured_keys, mode, with_stored_keys
from .warnings import warnings

__all__ = [
    "CacheRule",
    "ClientKey",
    "GroupEntry",
    "KeyEntry",
    "KeyLimits",
    "Mode",
    "ModelEntry",
    "PriceEntry",
    "Row",
    "Settings",
    "SettingsError",
    "ThinkEntry",
    "UpstreamEntry",
    "check_endpoints",
    "client_key",
    "client_keys",
    "configured_keys",
    "describe",
    "has_dotenv",
    "load_settings",
    "mode",
    "settings_reference",
    "warnings",
    "with_stored_keys",
]

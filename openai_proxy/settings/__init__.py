"""One typed, validated, frozen `Settings` from four sources.

Command line, environment, `.env`, TOML: the first that has a setting wins.
Secrets do not print themselves. Imported only by tap and service; what a
stage needs is handed to it field by field.
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

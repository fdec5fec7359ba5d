"""The only package that reads the environment: every setting, typed, validated and described.

A blank value counts as unset. A malformed value does not stop the process: it is listed in
`Settings.problems`, the app then answers with that text, and ``GET /health`` shows it.
"""

from shared.settings.entra import EntraSettings
from shared.settings.groups import CapabilitySettings, OtlpSettings, SettingsGroup
from shared.settings.keys import (
    Expiry,
    KeyEntries,
    KeyEntry,
    KeyGrant,
    ModelPatterns,
    read_expiry,
)
from shared.settings.limits import Limits, ModelPrice
from shared.settings.load import ALIASES, SETTING_NAMES, load_settings
from shared.settings.model import Capability, Settings
from shared.settings.values import (
    DEFAULT_SCOPES,
    ENTRA_PATTERN,
    MIN_KEY_CHARS,
    PRINCIPAL_PATTERN,
    SCOPES,
    McpServer,
    ProviderEntry,
    Scope,
)

__all__ = [
    "ALIASES",
    "DEFAULT_SCOPES",
    "ENTRA_PATTERN",
    "MIN_KEY_CHARS",
    "PRINCIPAL_PATTERN",
    "SCOPES",
    "SETTING_NAMES",
    "Capability",
    "CapabilitySettings",
    "EntraSettings",
    "Expiry",
    "KeyEntries",
    "KeyEntry",
    "KeyGrant",
    "Limits",
    "McpServer",
    "ModelPatterns",
    "ModelPrice",
    "OtlpSettings",
    "ProviderEntry",
    "Scope",
    "Settings",
    "SettingsGroup",
    "load_settings",
    "read_expiry",
]

"""Reads ``local.settings.json`` and ``host.json`` as Core Tools does."""

import json
import os
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
SETTINGS_FILE = PROJECT / "local.settings.json"
HOST_FILE = PROJECT / "host.json"
DEFAULT_ROUTE_PREFIX = "api"


class ConfigError(Exception):
    """Raised when a file or a port cannot be used; the sentence names it."""


def apply_local_settings(path: Path = SETTINGS_FILE) -> None:
    """Puts the file's ``Values`` into the environment, where a variable that is set already wins.

    Args:
        path: The file; it need not exist.

    Raises:
        ConfigError: The file is not what it should be.
    """
    if not path.exists():
        return
    values = _read(path).get("Values", {})
    if not isinstance(values, dict):
        raise ConfigError(f"{path.name}: 'Values' must be a JSON object.")
    for name, value in values.items():
        if not isinstance(value, str):
            raise ConfigError(f"{path.name}: '{name}' in 'Values' must be a string in quotes.")
        if not os.environ.get(name, "").strip():
            os.environ[name] = value


def route_prefix(path: Path = HOST_FILE) -> str:
    """Returns the prefix of all routes, without slashes around it.

    Raises:
        ConfigError: The file is not what it should be.
    """
    http = _read(path).get("extensions", {}).get("http", {})
    return str(http.get("routePrefix", DEFAULT_ROUTE_PREFIX)).strip("/")


def _read(path: Path) -> dict[str, Any]:
    try:
        # Editors on Windows put a byte order mark first, and Core Tools accepts it.
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ConfigError(f"{path.name} is not valid JSON: {error}.") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path.name} must hold a JSON object.")
    return document

"""Reads ``local.settings.json`` and ``host.json`` as Core Tools does."""

import difflib
import json
import os
from pathlib import Path
from typing import Any

from shared.settings import ALIASES, SETTING_NAMES, Settings

PROJECT = Path(__file__).resolve().parent.parent
SETTINGS_FILE = PROJECT / "local.settings.json"
HOST_FILE = PROJECT / "host.json"
DEFAULT_ROUTE_PREFIX = "api"
_FOR_THE_HOST = ("Azure", "APPLICATIONINSIGHTS_", "FUNCTIONS_", "PYTHON", "WEBSITE_")
"""How the names of settings begin that Core Tools, the host or the worker read."""


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


def unknown_settings(settings: Settings, path: Path = SETTINGS_FILE) -> list[str]:
    """Returns a sentence for each of the file's settings that nothing reads: most are misspelt.

    Args:
        settings: The settings, of which some name others.
        path: The file; it need not exist.
    """
    if not path.exists():
        return []
    document = _read(path)
    known = {*SETTING_NAMES, *ALIASES}
    known |= {server.bearer_token_setting or "" for server in settings.connections.servers.values()}
    sentences = []
    for name in document.get("Values", {}):
        if name in known or name.startswith(_FOR_THE_HOST):
            continue
        similar = difflib.get_close_matches(name, known, 1)
        hint = f" Is it {similar[0]}?" if similar else ""
        sentences.append(f"{path.name}: no setting is called {name}.{hint}")
    for name in document:
        if name in known:
            sentences.append(f"{path.name}: {name} counts only inside of 'Values'.")
    return sentences


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

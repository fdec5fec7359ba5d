"""The API key of local work: one that stays the same between runs, for clients that are set up once."""

import json
import os
from pathlib import Path

from filelock import FileLock

from local.config import PROJECT, ConfigError
from shared.auth import SHARED_KEY_PRINCIPAL
from shared.key_text import digest_key, generate_key, has_valid_checksum
from shared.settings import DEFAULT_SCOPES, load_settings

KEY_FILE = PROJECT / ".local/key"
_FOLDER_MODE = 0o700
_FILE_MODE = 0o600


def key_for_local_work(path: Path = KEY_FILE) -> str | None:
    """Returns the key of the file and lets it in, with every scope but act-as.

    Args:
        path: The file; it is made when it is first needed, for its user only.

    Returns:
        The key; None where the settings have keys of their own.

    Raises:
        ConfigError: The file cannot be read or written.
    """
    settings = load_settings()
    auth = settings.auth
    shared = auth.mcp_api_key or auth.mcp_server_api_key
    if auth.api_keys:
        return None
    if shared and not _is_kept(shared.get_secret_value(), path):
        return None
    key = _read_or_make(path)
    if "API_KEYS" in settings.malformed:
        # It must stay as it is, for its author to be told.
        os.environ["MCP_API_KEY"] = key
        return key
    for name in ("MCP_API_KEY", "MCP_SERVER_API_KEY"):
        os.environ.pop(name, None)
    scopes = sorted(DEFAULT_SCOPES | {"admin"})
    entry = {"sha256": digest_key(key.encode()), "scopes": scopes}
    os.environ["API_KEYS"] = json.dumps({SHARED_KEY_PRINCIPAL: entry})
    return key


def _is_kept(key: str, path: Path) -> bool:
    """Returns whether a key of the environment is that of the file, exported to try the commands."""
    return path.exists() and path.read_text(encoding="utf-8").strip() == key


def _read_or_make(path: Path) -> str:
    try:
        path.parent.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
        # Two apps that start at once get the same.
        with FileLock(path.with_suffix(".lock"), mode=_FILE_MODE):
            if path.exists():
                path.chmod(_FILE_MODE)
                key = path.read_text(encoding="utf-8").strip()
                if has_valid_checksum(key):
                    return key
            key = generate_key()
            path.touch(_FILE_MODE)
            path.write_text(f"{key}\n", encoding="utf-8")
            return key
    except OSError as error:
        raise ConfigError(
            f"The key of local work cannot be kept in {path}: {error.strerror}. "
            "Set MCP_API_KEY to a key of your own."
        ) from error

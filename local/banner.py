"""What is printed at the start: where the app is, with which key, and commands to try."""

import json
import os

from local.config import unknown_settings
from shared.openai_service import Capability, OpenAIService
from shared.settings import Settings, load_settings

IS_WINDOWS = os.name == "nt"


def banner(
    base_url: str, key: str | None, *, is_stand_in: bool, is_windows: bool = IS_WINDOWS
) -> str:
    """Returns the text.

    Args:
        base_url: Where the app answers.
        key: The key of local work; None where the settings have one of their own.
        is_stand_in: Whether the stand-in answers.
        is_windows: Whether the commands are for PowerShell, else for a POSIX shell.
    """
    settings = load_settings()
    problems = [*settings.problems, *unknown_settings(settings)]
    return f"""
OpenAI MCP Functions is running. Press Ctrl-C to stop.

  Page       {base_url}/{f"#key={key}" if key else ""}
  API        {base_url}
  MCP        {base_url}/mcp
  Key        {_key(key, settings)}
  Provider   {_provider(settings, is_stand_in=is_stand_in)}
{"".join(f"  PROBLEM    {problem}" + chr(10) for problem in problems)}
{_commands(_shell(base_url, key, is_windows=is_windows), is_working=not settings.problems)}
"""


def _key(key: str | None, settings: Settings) -> str:
    if key:
        return f"{key}\n             (the same at each start: it is kept in .local/key)"
    whose = (
        "one of API_KEYS in your settings"
        if settings.auth.api_keys
        else "MCP_API_KEY as you set it"
    )
    return f"{whose}; the commands below expect it in $MCP_API_KEY"


def _provider(settings: Settings, *, is_stand_in: bool) -> str:
    if is_stand_in:
        return (
            "none configured: a local STAND-IN answers, not a model.\n"
            "             Set OPENAI_API_KEY in local.settings.json for a real one."
        )
    openai = OpenAIService(settings)
    if settings.problems or not openai.is_configured:
        return "none answers until the setting below is right"
    chat = openai.endpoints.get(Capability.CHAT)
    providers = _general_providers(settings)
    unused = "".join(
        f"\n             {name} is set too, and not used: {providers[0]} comes first."
        for name in providers[1:]
    )
    return f"{chat.config.provider}: {chat.target} at {chat.config.base_url}{unused}"


def _general_providers(settings: Settings) -> list[str]:
    """Returns the settings that choose a provider for everything, the one that counts first."""
    providers = {
        "AZURE_OPENAI_ENDPOINT": settings.azure_openai.endpoint,
        "OPENAI_API_KEY": settings.openai.api_key,
        "OPENAI_BASE_URL": settings.openai.base_url if not settings.openai.api_key else None,
        "GEMINI_API_KEY": settings.gemini_api_key,
    }
    return [name for name, value in providers.items() if value]


class _Posix:
    """Commands for a POSIX shell."""

    def __init__(self, base_url: str, key: str) -> None:
        self._base_url = base_url
        self._key = f'-H "Authorization: Bearer {key}"'

    def get(self, path: str) -> str:
        return f"curl -s {self._base_url}{path} {self._key}"

    def post(self, path: str, body: object) -> str:
        json_type = '-H "Content-Type: application/json"'
        return f"{self.get(path)} {json_type} -d '{json.dumps(body)}'"


class _PowerShell:
    """Commands for PowerShell, whose ``curl`` is something else and drops the quotes of JSON."""

    def __init__(self, base_url: str, key: str) -> None:
        self._base_url = base_url
        self._key = f'-Headers @{{"Authorization" = "Bearer {key}"}}'

    def get(self, path: str) -> str:
        return f"irm {self._base_url}{path} {self._key}"

    def post(self, path: str, body: object) -> str:
        json_type = "-Method Post -ContentType application/json"
        return f"{self.get(path)} {json_type} -Body '{json.dumps(body)}'"


def _shell(base_url: str, key: str | None, *, is_windows: bool) -> _Posix | _PowerShell:
    if is_windows:
        return _PowerShell(base_url, key or "$env:MCP_API_KEY")
    return _Posix(base_url, key or "$MCP_API_KEY")


def _commands(shell: _Posix | _PowerShell, *, is_working: bool) -> str:
    if not is_working:
        return f"""Every route answers 503 until the setting is right. This tells more:

{shell.get("/health")}
"""
    return f"""Open the page, or try these in another terminal:

{shell.get("/server_time")}

{shell.post("/chat", {"message": "What is the current server time?"})}

{shell.post("/tools/generate_image", {"prompt": "A lighthouse at night"})}
"""

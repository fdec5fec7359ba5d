"""What is printed at the start: where the app is, with which key, and commands to try."""

import json

from local.config import unknown_settings
from shared.openai_service import Capability, OpenAIService
from shared.settings import Settings, load_settings


def banner(base_url: str, key: str | None, *, is_stand_in: bool) -> str:
    """Returns the text.

    Args:
        base_url: Where the app answers.
        key: The key that was made for this run; None where the settings have one.
        is_stand_in: Whether the stand-in answers.
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
{_commands(base_url, key or "$MCP_API_KEY", is_working=not settings.problems)}
"""


def _key(key: str | None, settings: Settings) -> str:
    if key:
        return f"{key}\n             (for this run; set MCP_API_KEY in local.settings.json to keep one)"
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


def _commands(base_url: str, key: str, *, is_working: bool) -> str:
    auth = f'-H "Authorization: Bearer {key}"'
    if not is_working:
        return f"""Every route answers 503 until the setting is right. This tells more:

curl -s {base_url}/health {auth}
"""
    body = '-H "Content-Type: application/json"'
    chat = json.dumps({"message": "What is the current server time?"})
    call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    accept = '-H "Accept: application/json, text/event-stream"'
    return f"""Try:

curl -s {base_url}/chat {auth} {body} -d '{chat}'

curl -s {base_url}/tools {auth}

curl -s {base_url}/mcp {auth} {body} {accept} -d '{call}'
"""

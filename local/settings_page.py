"""Writes ``docs/settings.md`` from the settings' own descriptions: ``python -m local.settings_page``."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic.fields import FieldInfo

from local.config import PROJECT
from shared.openai_service import OpenAIService
from shared.settings import (
    ALIASES,
    Capability,
    CapabilitySettings,
    Settings,
    SettingsGroup,
    load_settings,
)

PAGE = PROJECT / "docs/settings.md"

_INTRODUCTION = """# Settings

Made from the code: change a description in `shared/settings`, then run `make settings`.

Settings are app settings in Azure, and `Values` of `local.settings.json` on your machine, where a
variable of your shell comes first, an exported `OPENAI_API_KEY` too. A blank value counts as unset.
While a setting is malformed, every protected route answers 503 with its name, and so does
`GET /health`; callers with a key are told the entry and what is wrong with it.
[deploy.md](deploy.md#what-the-parameter-files-read) says how to set them in Azure.

Of several providers the first of these counts: an endpoint for the capability alone
(`OPENAI_CHAT_BASE_URL` and its like), Azure OpenAI, OpenAI or a compatible endpoint, Gemini.
`PROVIDERS` comes before them all: a model, also one that a setting such as `OPENAI_CHAT_MODEL`
names, goes to the entry whose pattern matches it or whose name it begins with (`NAME/model`);
every other one goes to the provider above.

Calls of providers also follow variables that many programs know. `SSL_CERT_FILE` names a file with
the certificate authorities to trust instead of the system's, `SSL_CERT_DIR` a folder of them.
`HTTP_PROXY`, `HTTPS_PROXY` or `ALL_PROXY` names a proxy for addresses of that kind, as
`http://HOST:PORT` or `https://HOST:PORT` (SOCKS is not supported), and `NO_PROXY` the hosts that are
reached without it. Speech over the realtime API goes through no proxy. Connections to MCP servers and
downloads follow the first two only.
"""

_SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Keys of callers": ("auth",),
    "Sign-in with Microsoft Entra ID": ("entra",),
    "Providers": ("openai", "azure_openai", "azure_client_id", "gemini_api_key", "providers"),
    "Models, and endpoints of one capability": tuple(Capability),
    "What callers may use": ("allowed_models", "usage"),
    "Storage": ("storage",),
    "Chat": ("agent",),
    "Connections": ("connections",),
}
"""Headings, with the attributes of `Settings` below each. A group that is not here gets its own."""

_REST = "The app"
_UNSET = "; unset: "
_CODE = re.compile(r"\{[^}]*\}|https://[\w.…-]*\w|\b[A-Z]+(?:_[A-Z]+)+\b")
_PAGE_NAME = re.compile(r"\b([a-z-]+\.md)\b")


def settings_page() -> str:
    """Returns the text of the page."""
    parts = [_INTRODUCTION]
    for heading, attributes in _sections():
        rows = [_row(names, field) for names, field in _settings(attributes)]
        table = "\n".join(["| setting | meaning | default |", "|---|---|---|", *rows])
        parts.append(f"## {heading}\n\n{table}\n")
    parts.append(_default_models())
    return "\n".join(parts)


def _sections() -> Iterator[tuple[str, Iterable[str]]]:
    yield from _SECTIONS.items()
    rest = []
    named = {name for attributes in _SECTIONS.values() for name in attributes}
    for name, field in Settings.model_fields.items():
        if name in named:
            continue
        if group := _group(field):
            yield (group.__doc__ or name).partition("\n")[0].rstrip("."), (name,)
        elif field.alias:
            rest.append(name)
    yield _REST, rest


def _settings(attributes: Iterable[str]) -> Iterator[tuple[list[str], FieldInfo]]:
    """Yields the names and the description of each setting; those of all capabilities are one."""
    attributes = tuple(attributes)
    if attributes == _SECTIONS["Models, and endpoints of one capability"]:
        for member in CapabilitySettings.model_fields.values():
            alias = member.alias or ""
            yield [alias.replace("{}", name.upper()) for name in attributes], member
        return
    for attribute in attributes:
        field = Settings.model_fields[attribute]
        group = _group(field)
        for member in group.model_fields.values() if group else [field]:
            yield [member.alias or attribute], member


def _group(field: FieldInfo) -> type[SettingsGroup] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, SettingsGroup) else None


def _row(names: list[str], field: FieldInfo) -> str:
    meaning, _, unset = (field.description or "").rstrip(".").partition(_UNSET)
    meaning = meaning.replace("{}", "the capability") + _range(field)
    default = _marked(unset) or _default(field.default)
    shown = [f"`{name}`" + _alias(name) for name in names]
    return f"| {', '.join(shown)} | {_marked(meaning)} | {default} |"


def _alias(name: str) -> str:
    others = [alias for alias, target in ALIASES.items() if target == name]
    return "".join(f" (or `{other}`)" for other in others)


def _range(field: FieldInfo) -> str:
    bounds: dict[str, Any] = {}
    for each in field.metadata:
        bounds |= {name: getattr(each, name) for name in ("ge", "gt", "le") if hasattr(each, name)}
    low = (
        f"{bounds['ge']}"
        if "ge" in bounds
        else f"more than {bounds['gt']}"
        if "gt" in bounds
        else ""
    )
    if low and "le" in bounds:
        return f" ({low} to {bounds['le']})"
    return f" (at least {low})" if low else ""


def _default(value: object) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if value and isinstance(value, str | int | float) else ""


def _marked(text: str) -> str:
    text = text.replace("|", r"\|")
    return _PAGE_NAME.sub(r"[\1](\1)", _CODE.sub(lambda found: f"`{found[0]}`", text))


def _default_models() -> str:
    rows = [
        f"| {capability} | {_default_model('OPENAI_API_KEY', capability)} "
        f"| {_default_model('GEMINI_API_KEY', capability)} |"
        for capability in Capability
    ]
    table = "\n".join(["| capability | OpenAI | Gemini |", "|---|---|---|", *rows])
    return (
        f"## Default models\n\n{table}\n\n`audio` is speech. Azure and compatible endpoints have "
        "OpenAI's defaults. Where a capability has no default,\nset its model.\n"
    )


def _default_model(key_setting: str, capability: Capability) -> str:
    endpoint = OpenAIService(load_settings({key_setting: "any"})).endpoints.find(capability)
    return f"`{endpoint.model}`" if endpoint else "none"


if __name__ == "__main__":
    PAGE.write_text(settings_page(), encoding="utf-8")

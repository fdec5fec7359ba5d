"""Reads the settings from the environment, and says what is wrong with them."""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError

from shared.addresses import endpoint, forbidden_host
from shared.settings.groups import SettingsGroup
from shared.settings.model import Settings
from shared.settings.values import MIN_KEY_CHARS, describe_complaint


def _described() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yields the name of each setting, its meaning, and where it is in `Settings`."""
    for attribute, field in Settings.model_fields.items():
        if field.alias:
            yield field.alias, field.description or "", (field.alias,)
        elif attribute in _GROUPS:
            for member in _GROUPS[attribute].model_fields.values():
                # The settings of a capability have its name in theirs.
                alias = member.alias or ""
                meaning = (member.description or "").replace("{}", field.description or "")
                yield alias.replace("{}", attribute.upper()), meaning, (attribute, alias)


_GROUPS: Mapping[str, type[SettingsGroup]] = {
    attribute: field.annotation
    for attribute, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, SettingsGroup)
}

SETTING_NAMES: Mapping[str, str] = {name: meaning for name, meaning, _ in _described()}
"""Every setting that the code reads, with its meaning."""

_LOCATIONS: Mapping[str, tuple[str, ...]] = {name: location for name, _, location in _described()}
_NAMES: Mapping[tuple[str, ...], str] = {location: name for name, location in _LOCATIONS.items()}

ALIASES: Mapping[str, str] = {"OPENAI_MODEL": "OPENAI_CHAT_MODEL"}
"""Other names of settings."""


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Reads the settings; malformed ones are listed in `Settings.problems` and keep their default.

    Args:
        environ: The variables to read; the process environment when not given.
    """
    source = os.environ if environ is None else environ
    values: dict[str, str] = {}
    for name in (*SETTING_NAMES, *ALIASES):
        if value := source.get(name, "").strip():
            values.setdefault(ALIASES.get(name, name), value)

    in_azure = _runs_in_azure(source)
    problems = {name: _unread_secret(name) for name in values if _is_reference(values[name])}
    if in_azure:
        problems |= _unfit_for_azure(values)
    for name in problems:
        del values[name]
    settings = None
    while settings is None:
        try:
            settings = Settings.model_validate(_nested(values))
        except ValidationError as error:
            # A setting that falls back to its default can make another one wrong.
            for complaint in error.errors(include_input=False):
                name, sentence = _explain(complaint)
                problems.setdefault(name, sentence)
                values.pop(name, None)
    problems |= _half_of_entra(settings, problems)
    own_urls = _own_urls(settings, source)
    if fault := _unfit_server(settings, own_urls or settings.own_urls):
        problems["MCP_SERVERS"] = fault
        connections = settings.connections.model_copy(update={"servers": {}})
        settings = settings.model_copy(update={"connections": connections})
    tokens, missing = _secrets_of(
        "MCP_SERVERS",
        {name: each.secret_setting for name, each in settings.connections.servers.items()},
        source,
    )
    keys, missing_keys = _secrets_of(
        "PROVIDERS", {name: each.key_setting for name, each in settings.providers.items()}, source
    )
    problems |= missing | missing_keys
    for name, provider in settings.providers.items():
        if in_azure and provider.base_url.startswith("http://"):
            problems["PROVIDERS"] = (
                f"The setting PROVIDERS, entry {name}.base_url, must begin with https:// in Azure."
            )
    found: dict[str, Any] = {
        "mcp_server_tokens": tokens,
        "provider_keys": keys,
        "in_azure": in_azure,
        "malformed": tuple(problems),
        "has_host_storage": in_azure or bool(source.get("AzureWebJobsStorage", "").strip()),
        "problems": tuple(problems.values()),
    }
    if own_urls:
        found |= {"own_url": own_urls[0], "own_urls": own_urls}
    return settings.model_copy(update=found)


def _nested(values: Mapping[str, str]) -> dict[str, Any]:
    """Returns the values as `Settings` takes them: those of a group in an object of its own."""
    nested: dict[str, Any] = {group: {} for group in _GROUPS}
    for name, value in values.items():
        *group, alias = _LOCATIONS[name]
        (nested[group[0]] if group else nested)[alias] = value
    return nested


def _explain(complaint: Mapping[str, Any]) -> tuple[str, str]:
    """Returns the name of the setting that is malformed, and the sentence that says why."""
    steps = tuple(str(step) for step in complaint["loc"])
    depth = 2 if steps[0] in _GROUPS else 1
    name, path = _NAMES[steps[:depth]], steps[depth:]
    where = f"{name}, entry {'.'.join(path)}," if path else name
    return name, f"The setting {where} {describe_complaint(complaint)}."


def _runs_in_azure(environ: Mapping[str, str]) -> bool:
    # Core Tools mimics some of App Service's variables, but always says that it is Core Tools.
    if environ.get("FUNCTIONS_CORETOOLS_ENVIRONMENT"):
        return False
    return bool(environ.get("WEBSITE_SITE_NAME") or environ.get("WEBSITE_INSTANCE_ID"))


def _own_urls(settings: Settings, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the URLs by which callers reach the app, the preferred one first."""
    urls = [settings.public_base_url] if settings.public_base_url else []
    if host := environ.get("WEBSITE_HOSTNAME", "").strip():
        urls.append(f"{'https' if _runs_in_azure(environ) else 'http'}://{host}")
    return tuple(urls)


def _half_of_entra(settings: Settings, problems: Mapping[str, str]) -> dict[str, str]:
    """Returns the problem where one of the two settings that turn Entra ID on is missing."""
    found = {
        "ENTRA_TENANT_ID": settings.entra.tenant_id,
        "ENTRA_CLIENT_ID": settings.entra.client_id,
    }
    missing = [name for name, value in found.items() if value is None]
    if len(missing) != 1 or missing[0] in problems:
        return {}
    [other] = found.keys() - missing
    return {missing[0]: f"The setting {missing[0]} is missing: {other} needs it. Set both or none."}


def _unfit_server(settings: Settings, own_urls: Iterable[str]) -> str | None:
    """Returns what is wrong with the first server that may not be called, None where all may be."""
    allow_private = settings.connections.allow_private_networks
    own = set(map(endpoint, own_urls))
    remedy = "" if allow_private else ", unless CONNECTIONS_ALLOW_PRIVATE_NETWORKS is true"
    for name, server in settings.connections.servers.items():
        if unfit := server.unfit_field:
            need = "shared" if server.auth == "per-user" else "per-user"
            return f"The setting MCP_SERVERS, entry {name}.{unfit}, needs auth to be '{need}'."
        where = f"The setting MCP_SERVERS, entry {name}.url,"
        parts = urlsplit(server.url)
        if parts.scheme != "https" and not allow_private:
            return f"{where} must begin with https://{remedy}."
        if endpoint(server.url) in own:
            return f"{where} is the address of this app, whose tools chats have without it."
        if kind := forbidden_host(parts.hostname or "", allow_private=allow_private):
            return f"{where} has {kind}, which may not be called{remedy}."
    return None


def _secrets_of(
    setting: str, named: Mapping[str, str | None], environ: Mapping[str, str]
) -> tuple[dict[str, SecretStr], dict[str, str]]:
    """Returns the secrets that the entries of a setting name, by entry, and what is wrong with them.

    Args:
        setting: The setting whose entries name other settings.
        named: The setting that each entry names, None where it names none.
        environ: Where they are.
    """
    secrets: dict[str, SecretStr] = {}
    problems: dict[str, str] = {}
    for entry, name in named.items():
        if name is None:
            continue
        secret = environ.get(name, "").strip()
        if _is_reference(secret):
            problems[name] = _unread_secret(name)
            continue
        secrets[entry] = SecretStr(secret)
        if not secret:
            problems[setting] = (
                f"The setting {setting}, entry {entry}, names the setting {name}, which has no value."
            )
    return secrets, problems


def _is_reference(value: str) -> bool:
    # App Service leaves a reference as it is where it cannot read the secret: a key that can be guessed.
    return value.lower().startswith(("@microsoft.keyvault(", "@microsoft.appconfiguration("))


def _unread_secret(name: str) -> str:
    return (
        f"The setting {name} refers to a secret that Azure could not read. Check that the secret "
        "exists and that the app's identity may read it, then restart."
    )


def _unfit_for_azure(values: Mapping[str, str]) -> dict[str, str]:
    problems = {
        name: f"The setting {name} must begin with https:// in Azure."
        for name, value in values.items()
        if name.endswith(("_URL", "_ENDPOINT", "_AUTHORITY"))
        and value.lower().startswith("http://")
    }
    for name in ("MCP_API_KEY", "MCP_SERVER_API_KEY"):
        if 0 < len(values.get(name, "")) < MIN_KEY_CHARS:
            problems[name] = (
                f"The setting {name} must have at least {MIN_KEY_CHARS} characters in Azure: "
                "'python3 -m infra.new_key NAME' makes a key."
            )
    if "LOCAL_STORAGE_PATH" in values:
        problems["LOCAL_STORAGE_PATH"] = (
            "The setting LOCAL_STORAGE_PATH is for local work: an instance's disk goes away with it. "
            "Remove it and set AZURE_STORAGE_ACCOUNT_URL."
        )
    return problems

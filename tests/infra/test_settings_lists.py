"""One list of settings in three places: the code, the example for local work, and the templates."""

import json
import re
from pathlib import Path

from shared.settings import SETTING_NAMES, Settings

PROJECT = Path(__file__).parent.parent.parent
MODULES = PROJECT / "infra/modules"

NOT_DEPLOYED = {
    "BUILD_ID",  # The package carries its build; a setting would restart the app at each run.
    "AZURE_STORAGE_CONNECTION_STRING",  # It holds a key; a deployment has AZURE_STORAGE_ACCOUNT_URL.
    "LOCAL_STORAGE_PATH",  # For local work only, and refused in Azure.
    "MCP_SERVER_API_KEY",  # Another name of MCP_API_KEY.
}
"""Settings of the code that have no place in a deployment."""

FOR_THE_HOST = {
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "AzureWebJobsDisableHomepage",
    "AzureWebJobsStorage__accountName",
    "AzureWebJobsStorage__clientId",
    "AzureWebJobsStorage__credential",
}


def source(path: Path) -> str:
    """Returns a template without its comments and descriptions."""
    return re.sub(r"^\s*(//.*|@description\(.*\))$", "", path.read_text(), flags=re.MULTILINE)


def block(text: str, start: str) -> str:
    """Returns what stands between the start and the first line that closes it at the margin."""
    (found,) = re.findall(rf"^{re.escape(start)}$(.*?)^[}})]", text, re.MULTILINE | re.DOTALL)
    return str(found)


def keys(text: str) -> set[str]:
    return set(re.findall(r"^\s+(\w+): ", text, re.MULTILINE))


def optional_settings() -> set[str]:
    return keys(block(source(MODULES / "types.bicep"), "type OptionalSettings = {"))


def secret_settings() -> set[str]:
    types = source(MODULES / "types.bicep")
    (union,) = re.findall(r"^type SecretSetting =$((?:\n  \| '\w+')+)", types, re.MULTILINE)
    return set(re.findall(r"'(\w+)'", union))


def deployment_settings() -> set[str]:
    types, main = source(MODULES / "types.bicep"), source(PROJECT / "infra/main.bicep")
    assert "'AZURE_OPENAI_${toUpper(deployment.capability)}_DEPLOYMENT'" in main
    (union,) = re.findall(r"^  capability: (.+)$", types, re.MULTILINE)
    return {f"AZURE_OPENAI_{name.upper()}_DEPLOYMENT" for name in re.findall(r"'(\w+)'", union)}


def own_settings() -> set[str]:
    main = source(PROJECT / "infra/main.bicep")
    return keys(block(main, "var ownSettings = {")) | {"AZURE_OPENAI_ENDPOINT"}


def deployed() -> set[str]:
    return optional_settings() | secret_settings() | deployment_settings() | own_settings()


def test_every_setting_of_the_templates_is_known_to_the_code() -> None:
    assert sorted(deployed() - set(SETTING_NAMES)) == []


def test_every_setting_of_the_code_is_set_by_the_templates_or_has_no_place_there() -> None:
    assert sorted(set(SETTING_NAMES) - deployed() - NOT_DEPLOYED) == []


def test_every_setting_of_the_templates_is_in_the_example_for_local_work() -> None:
    example = json.loads((PROJECT / "local.settings.example.json").read_text())["Values"]
    assert sorted(deployed() - set(example)) == []


def test_limits_of_numbers_are_those_of_the_code() -> None:
    types = source(MODULES / "types.bicep")
    found = re.findall(
        r"((?:^  @m\w+Value\(\d+\)\n)*)^  (\w+): int\?$",
        block(types, "type OptionalSettings = {"),
        re.MULTILINE,
    )
    names = {name for _, name in found}
    whole = Settings.model_json_schema()
    schemas = dict(whole["properties"])
    for group in whole["$defs"].values():
        schemas |= group.get("properties", {})
    assert names >= {"CHAT_MAX_TURNS", "MEDIA_URL_TTL_SECONDS", "REQUEST_DEADLINE_SECONDS"}
    for decorators, name in found:
        limits = {kind: int(n) for kind, n in re.findall(r"@(m\w+)Value\((\d+)\)", decorators)}
        schema = schemas[name]
        least = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
        assert limits == {"min": least} | (
            {"max": schema["maximum"]} if "maximum" in schema else {}
        ), name


def test_no_setting_has_two_sources() -> None:
    lists = [optional_settings(), secret_settings(), deployment_settings(), own_settings()]
    assert sum(map(len, lists)) == len(deployed())


def test_keys_come_from_the_key_vault_only() -> None:
    by_key = {name for name in SETTING_NAMES if name.endswith("_KEY")} - NOT_DEPLOYED
    assert by_key <= secret_settings()


def test_settings_for_the_host_are_these() -> None:
    assert keys(block(source(MODULES / "app.bicep"), "var hostSettings = {")) == FOR_THE_HOST

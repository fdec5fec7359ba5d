"""What tests of the templates share: expanded templates, and resources found in them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from tree_sitter import Node

from tests.infra.bicep import Resource, Template, parameters_of

PROJECT = Path(__file__).parent.parent.parent
INFRA = PROJECT / "infra"
AZD: dict[str, Any] = yaml.safe_load((PROJECT / "azure.yaml").read_text())
HOOKS = AZD.get("hooks", {})

THEIRS = "/subscriptions/theirs/resourceGroups/hub/providers"
NETWORK = {
    "appSubnetId": f"{THEIRS}/Microsoft.Network/virtualNetworks/hub/subnets/functions",
    "endpointSubnetId": f"{THEIRS}/Microsoft.Network/virtualNetworks/hub/subnets/endpoints",
}
ZONES = {
    "blob": f"{THEIRS}/Microsoft.Network/privateDnsZones/privatelink.blob.core.windows.net",
    "table": f"{THEIRS}/Microsoft.Network/privateDnsZones/privatelink.table.core.windows.net",
    "openAi": f"{THEIRS}/Microsoft.Network/privateDnsZones/privatelink.openai.azure.com",
}
CHAT = {
    "capability": "chat",
    "name": "chat",
    "model": "gpt-6-luna",
    "sku": "GlobalStandard",
    "capacity": 50,
}
IMAGE = {**CHAT, "capability": "image", "name": "image"}


def expand(**given: Any) -> tuple[Template, list[Resource]]:
    """Returns main.bicep with these parameters, and what it deploys."""
    template = Template(INFRA / "main.bicep", given)
    return template, list(template.resources())


def of_type(resources: list[Resource], kind: str) -> list[dict[str, Any]]:
    """Returns the bodies of the resources of a type."""
    return [each.body() for each in resources if each.type == kind]


def only(resources: list[Resource], kind: str) -> Any:
    """Returns the body of the one resource of a type."""
    (found,) = of_type(resources, kind)
    return found


def app_settings(resources: list[Resource]) -> dict[str, str]:
    """Returns the app settings by name."""
    settings = only(resources, "Microsoft.Web/sites")["properties"]["siteConfig"]["appSettings"]
    return {each["name"]: each["value"] for each in settings}


def strings(value: Any) -> Iterator[str]:
    """Yields all strings in a body, keys too."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)
    elif isinstance(value, str):
        yield value


def storage_named(resources: list[Resource], start: str) -> Any:
    """Returns the properties of the storage account whose name begins so."""
    (found,) = (
        each
        for each in of_type(resources, "Microsoft.Storage/storageAccounts")
        if each["name"].startswith(start)
    )
    return found["properties"]


def parameters(name: str, **environment: str) -> dict[str, Any]:
    """Returns the parameters of dev or prod with these environment variables."""
    return parameters_of(INFRA / f"{name}.bicepparam", environment)


def errors_of(node: Node) -> list[str]:
    """Returns what the grammar of PowerShell does not know in a script."""
    found = [f"line {node.start_point[0] + 1}"] if node.is_error or node.is_missing else []
    return found + [each for child in node.children for each in errors_of(child)]

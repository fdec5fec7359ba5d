"""What the templates deploy for each supported combination of parameters."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.infra.bicep_functions import GROUP
from tests.infra.deployed import (
    CHAT,
    INFRA,
    NETWORK,
    ZONES,
    app_settings,
    expand,
    of_type,
    only,
    storage_named,
    strings,
)

ROLES = {
    role: name
    for name, role in re.findall(
        r"^  (\w+): '([0-9a-f-]{36})'$", (INFRA / "modules/roles.bicep").read_text(), re.M
    )
}

_OPEN_AI: dict[str, dict[str, Any]] = {
    "openai-create": {"azureOpenAi": "create", "modelDeployments": [CHAT]},
    "openai-existing": {
        "azureOpenAi": "existing",
        "openAiEndpoint": "https://theirs.openai.azure.com",
        "modelDeployments": [CHAT],
    },
    "openai-none": {"azureOpenAi": "none"},
}
_LINKS: dict[str, dict[str, Any]] = {
    "links-on": {"mediaLinksFromInternet": True},
    "links-off": {"mediaLinksFromInternet": False},
}
_NETWORKS: dict[str, dict[str, Any]] = {
    "public": {},
    "own-network": {"privateNetworking": True},
    "own-network-nat": {"privateNetworking": True, "natGateway": True},
    "existing-network": {"privateNetworking": True, "existingNetwork": NETWORK},
}
_DNS: dict[str, dict[str, Any]] = {
    "own-zones": {},
    "existing-zones": {"existingDnsZones": ZONES},
    "zones-by-policy": {"existingDnsZones": {}},
}


def _combinations() -> Iterator[Any]:
    for parts in itertools.product(_OPEN_AI, _LINKS, _NETWORKS, _DNS):
        if "public" in parts and "own-zones" not in parts:
            continue
        groups = zip((_OPEN_AI, _LINKS, _NETWORKS, _DNS), parts, strict=True)
        given = {key: value for group, part in groups for key, value in group[part].items()}
        yield pytest.param(given, id="-".join(parts))


COMBINATIONS = list(_combinations())
each_combination = pytest.mark.parametrize("given", COMBINATIONS)


@each_combination
def test_no_resource_refers_to_what_is_not_deployed(given: dict[str, Any]) -> None:
    template, resources = expand(**given)
    deployed = {each.id for each in resources}
    values = [each.body() for each in resources] + [template.outputs()]
    for text in (text for value in values for text in strings(value)):
        for found in re.findall(rf"{GROUP}/[^\s\"';]+", text):
            # A value that Azure knows later is the id with the name of the property behind it.
            assert any(found == known or found.startswith(f"{known}.") for known in deployed), found


@each_combination
def test_names_are_unique_and_valid(given: dict[str, Any]) -> None:
    _, resources = expand(**given)
    assert [
        name for name, count in Counter(each.id for each in resources).items() if count > 1
    ] == []
    valid = {
        "Microsoft.Storage/storageAccounts": r"[a-z0-9]{3,24}",
        "Microsoft.KeyVault/vaults": r"[a-z][a-z0-9-]{1,22}[a-z0-9]",
        "Microsoft.Web/sites": r"[a-z0-9][a-z0-9-]{0,58}[a-z0-9]",
        "Microsoft.CognitiveServices/accounts": r"[a-z0-9][a-z0-9-]{0,62}[a-z0-9]",
        "Microsoft.OperationalInsights/workspaces": r"[a-z0-9][a-z0-9-]{2,61}[a-z0-9]",
        "Microsoft.Network/virtualNetworks": r"[\w.-]{2,64}",
        "Microsoft.Network/privateEndpoints": r"[\w.-]{2,64}",
    }
    seen: Counter[str] = Counter()
    for each in resources:
        if pattern := valid.get(each.type):
            assert re.fullmatch(pattern, each.name), each.name
            seen[each.type] += 1
    assert seen["Microsoft.Storage/storageAccounts"] == 2


@each_combination
def test_roles_are_those_that_the_app_needs_and_no_more(given: dict[str, Any]) -> None:
    _, resources = expand(**given, operatorPrincipalId="operator")
    identity = only(resources, "Microsoft.ManagedIdentity/userAssignedIdentities")["name"]
    found = []
    for body in of_type(resources, "Microsoft.Authorization/roleAssignments"):
        properties, scope = body["properties"], body["scope"]
        role = ROLES[properties["roleDefinitionId"].split("/")[-1]]
        holder = "app" if identity in properties["principalId"] else properties["principalId"]
        found.append((holder, role, f"{scope.type.split('/')[-1]} {scope.name.split('/')[-1]}"))
    token = identity.split("-")[-1]
    expected = [
        ("app", "storageBlobDataOwner", f"storageAccounts sthost{token}"),
        ("app", "storageTableDataContributor", f"storageAccounts sthost{token}"),
        ("app", "storageBlobDataContributor", "containers media"),
        ("app", "storageBlobDataContributor", "containers state"),
        ("app", "storageBlobDelegator", f"storageAccounts stdata{token}"),
        ("app", "keyVaultSecretsUser", f"vaults kv-{token}"),
        ("app", "monitoringMetricsPublisher", f"components appi-oaimcp-{token}"),
        ("operator", "keyVaultSecretsOfficer", f"vaults kv-{token}"),
    ]
    if given["azureOpenAi"] == "create":
        expected.append(("app", "cognitiveServicesOpenAiUser", f"accounts oai-oaimcp-{token}"))
    assert sorted(found) == sorted(expected)
    # In Azure the name of a role assignment is unique in the whole tenant.
    names = [body["name"] for body in of_type(resources, "Microsoft.Authorization/roleAssignments")]
    assert len(set(names)) == len(names)


@each_combination
def test_every_private_zone_has_an_endpoint_in_it(given: dict[str, Any]) -> None:
    """One without would hide the accounts that others have there (NXDOMAIN)."""
    _, resources = expand(**given)
    zones = {each.id for each in resources if each.type == "Microsoft.Network/privateDnsZones"}
    registered = {
        config["properties"]["privateDnsZoneId"]
        for body in of_type(resources, "Microsoft.Network/privateEndpoints/privateDnsZoneGroups")
        for config in body["properties"]["privateDnsZoneConfigs"]
    }
    assert zones - registered == set()


@each_combination
def test_endpoints_and_zones_are_those_of_resources_of_this_deployment(
    given: dict[str, Any],
) -> None:
    _, resources = expand(**given)
    private = given.get("privateNetworking", False)
    creates = given["azureOpenAi"] == "create"
    endpoints = {
        (
            body["properties"]["privateLinkServiceConnections"][0]["properties"]["groupIds"][0],
            body["properties"]["privateLinkServiceConnections"][0]["properties"][
                "privateLinkServiceId"
            ].split("/")[-1][:6],
        )
        for body in of_type(resources, "Microsoft.Network/privateEndpoints")
    }
    expected = {("blob", "sthost"), ("table", "sthost"), ("blob", "stdata")}
    expected |= {("account", "oai-oa")} if creates else set()
    assert endpoints == (expected if private else set())

    zones = {body["name"] for body in of_type(resources, "Microsoft.Network/privateDnsZones")}
    links = of_type(resources, "Microsoft.Network/privateDnsZones/virtualNetworkLinks")
    owns = private and "existingDnsZones" not in given
    needed = {zone.split("/")[-1] for part, zone in ZONES.items() if part != "openAi" or creates}
    assert zones == (needed if owns else set())
    assert len(links) == len(zones)

    groups = of_type(resources, "Microsoft.Network/privateEndpoints/privateDnsZoneGroups")
    registered = Counter(
        body["properties"]["privateDnsZoneConfigs"][0]["properties"]["privateDnsZoneId"].split("/")[
            -1
        ]
        for body in groups
    )
    by_policy = given.get("existingDnsZones") == {}
    assert set(registered) == (needed if private and not by_policy else set())
    assert sum(registered.values()) == (0 if by_policy else len(endpoints))


@each_combination
def test_network_is_made_only_where_none_is_given(given: dict[str, Any]) -> None:
    _, resources = expand(**given)
    kinds = Counter(each.type.removeprefix("Microsoft.Network/") for each in resources)
    owns = given.get("privateNetworking", False) and "existingNetwork" not in given
    nat = bool(given.get("natGateway"))
    assert kinds["virtualNetworks"] == kinds["networkSecurityGroups"] / 2 == owns
    assert kinds["virtualNetworks/subnets"] == 2 * owns
    assert kinds["natGateways"] == kinds["publicIPAddresses"] == nat
    subnet = only(resources, "Microsoft.Web/sites")["properties"]["virtualNetworkSubnetId"]
    places = {
        body["properties"]["subnet"]["id"]
        for body in of_type(resources, "Microsoft.Network/privateEndpoints")
    }
    if not given.get("privateNetworking"):
        assert (subnet, places) == (None, set())
    elif owns:
        assert subnet.endswith("/subnets/app")
        assert [place.split("/")[-1] for place in places] == ["endpoints"]
    else:
        assert (subnet, places) == (NETWORK["appSubnetId"], {NETWORK["endpointSubnetId"]})


@each_combination
def test_what_has_an_endpoint_is_closed_to_the_internet_but_for_links_where_wanted(
    given: dict[str, Any],
) -> None:
    _, resources = expand(**given)
    private = given.get("privateNetworking", False)
    links = given["mediaLinksFromInternet"]

    def is_open(properties: Any) -> bool:
        state = properties["publicNetworkAccess"], properties["networkAcls"]["defaultAction"]
        assert state in (("Enabled", "Allow"), ("Disabled", "Deny"))
        return state[0] == "Enabled"

    assert is_open(storage_named(resources, "sthost")) is not private
    assert is_open(storage_named(resources, "stdata")) is (not private or links)
    for account in of_type(resources, "Microsoft.CognitiveServices/accounts"):
        assert is_open(account["properties"]) is not private
    proxied = app_settings(resources)["MEDIA_PROXY_DOWNLOADS"]
    assert proxied == ("true" if private and not links else "false")


@each_combination
def test_app_is_told_of_a_provider_only_where_there_is_one(given: dict[str, Any]) -> None:
    _, resources = expand(**given)
    found = {name: value for name, value in app_settings(resources).items() if "OPENAI" in name}
    if given["azureOpenAi"] == "none":
        assert found == {}
    else:
        assert found.pop("AZURE_OPENAI_CHAT_DEPLOYMENT") == "chat"
        endpoint = found.pop("AZURE_OPENAI_ENDPOINT")
        assert endpoint == given.get("openAiEndpoint", endpoint)
        assert found == {}
    assert len(of_type(resources, "Microsoft.CognitiveServices/accounts")) == (
        given["azureOpenAi"] == "create"
    )

"""Subnets, gateways, zones and rules of the private network."""

import pytest

from tests.infra.deployed import NETWORK, THEIRS, expand, of_type, only


def test_subnets_are_no_part_of_the_network_and_are_made_one_after_the_other() -> None:
    """A list in the network would replace all subnets, and what was attached to them, each time."""
    _, resources = expand(privateNetworking=True)
    assert "subnets" not in only(resources, "Microsoft.Network/virtualNetworks")["properties"]
    app, endpoints = of_type(resources, "Microsoft.Network/virtualNetworks/subnets")
    assert app["name"] == "app"
    assert [each.name.split("/")[-1] for each in endpoints["dependsOn"]] == ["app"]


@pytest.mark.parametrize("nat", [False, True])
def test_nat_gateway_is_attached_to_the_app_s_subnet_where_wanted(nat: bool) -> None:
    template, resources = expand(privateNetworking=True, natGateway=nat)
    app, endpoints = (
        body["properties"]
        for body in of_type(resources, "Microsoft.Network/virtualNetworks/subnets")
    )
    assert bool(app["natGateway"]) is nat
    assert bool(template.output("OUTBOUND_ADDRESS")) is nat
    # Each subnet says it, since the default changes with the version of the API.
    assert (app["defaultOutboundAccess"], endpoints["defaultOutboundAccess"]) == (not nat, False)


def test_links_to_private_zones_fall_back_to_the_internet() -> None:
    _, resources = expand(privateNetworking=True)
    links = of_type(resources, "Microsoft.Network/privateDnsZones/virtualNetworkLinks")
    assert [link["properties"]["resolutionPolicy"] for link in links] == ["NxDomainRedirect"] * 3


def test_own_zones_are_linked_to_the_network_that_is_given() -> None:
    _, resources = expand(privateNetworking=True, existingNetwork=NETWORK)
    links = of_type(resources, "Microsoft.Network/privateDnsZones/virtualNetworkLinks")
    networks = {link["properties"]["virtualNetwork"]["id"] for link in links}
    assert networks == {f"{THEIRS}/Microsoft.Network/virtualNetworks/hub"}


def test_endpoints_answer_the_whole_network_by_https_only() -> None:
    """An isolated app has been seen to come from addresses outside of its subnet."""
    _, resources = expand(privateNetworking=True)
    rules = of_type(resources, "Microsoft.Network/networkSecurityGroups")[1]["properties"]
    allow, deny = (rule["properties"] for rule in rules["securityRules"])
    assert (allow["access"], allow["sourceAddressPrefix"]) == ("Allow", "VirtualNetwork")
    assert (allow["destinationPortRange"], deny["access"]) == ("443", "Deny")

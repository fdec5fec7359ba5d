"""What dev.bicepparam and prod.bicepparam deploy, and what the environment changes."""

import json

import pytest

from tests.infra.deployed import (
    CHAT,
    IMAGE,
    app_settings,
    expand,
    of_type,
    only,
    parameters,
    strings,
)


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_parameter_file_expands_without_any_variable(name: str) -> None:
    template, resources = expand(**parameters(name))
    assert len([each.body() for each in resources]) > 30
    assert template.output("SMOKE_OPTIONS") == ("--without-images" if name == "dev" else "")


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_scale_limit_is_what_every_region_takes(name: str) -> None:
    assert parameters(name)["maximumInstanceCount"] >= 40
    assert parameters(name, MAXIMUM_INSTANCES="100")["maximumInstanceCount"] == 100


def test_dev_starts_with_chat_alone() -> None:
    deployments = parameters("dev")["modelDeployments"]
    assert [each["capability"] for each in deployments] == ["chat"]


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_models_versions_skus_and_capacities_come_from_one_variable(name: str) -> None:
    chosen = [{**CHAT, "version": "2026-10-01", "capacity": 3}, {**IMAGE, "sku": "Standard"}]
    given = parameters(name, MODEL_DEPLOYMENTS=json.dumps(chosen))
    assert given["modelDeployments"] == chosen
    template, resources = expand(**given)
    made = of_type(resources, "Microsoft.CognitiveServices/accounts/deployments")
    assert [body["sku"] for body in made] == [
        {"name": "GlobalStandard", "capacity": 3},
        {"name": "Standard", "capacity": 50},
    ]
    assert made[0]["properties"]["model"]["version"] == "2026-10-01"
    assert template.output("SMOKE_OPTIONS") == ""


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_two_builds_have_the_same_settings(name: str) -> None:
    """A setting that differs from run to run would restart the app each time."""
    one, other = (
        [each.body() for each in expand(**parameters(name, BUILD_ID=build))[1]]
        for build in ("1111111", "2222222")
    )
    assert [list(strings(body)) for body in one] == [list(strings(body)) for body in other]


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_budget_and_memory_come_from_the_environment(name: str) -> None:
    assert parameters(name)["budget"] is None
    budget = {"amount": 200, "startDate": "2027-01-01"}
    given = parameters(
        name, BUDGET=json.dumps(budget), ALERT_EMAILS='["a@example.com"]', INSTANCE_MEMORY_MB="512"
    )
    _, resources = expand(**given)
    made = only(resources, "Microsoft.Consumption/budgets")["properties"]
    assert (made["amount"], made["timePeriod"]["startDate"]) == (200, "2027-01-01")
    app = only(resources, "Microsoft.Web/sites")["properties"]
    assert app["functionAppConfig"]["scaleAndConcurrency"]["instanceMemoryMB"] == 512


def test_name_suffix_names_everything_anew() -> None:
    old, new = (
        {each.name for each in expand(nameSuffix=suffix)[1] if "/" not in each.name}
        for suffix in ("", "b")
    )
    assert len(old) == len(new)
    # Its name counts only within the resource that it belongs to.
    assert old & new == {"to-workspace"}


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_public_base_url_is_what_callers_and_the_availability_test_use(name: str) -> None:
    url = "https://api.example.com"
    template, resources = expand(**parameters(name, PUBLIC_BASE_URL=url))
    assert app_settings(resources)["PUBLIC_BASE_URL"] == url
    assert template.output("MCP_URL") == f"{url}/mcp"
    for test in of_type(resources, "Microsoft.Insights/webtests"):
        assert test["properties"]["Request"]["RequestUrl"] == f"{url}/health"

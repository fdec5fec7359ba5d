"""Logs, metrics and what raises an alert."""

import json
import logging
import re
from typing import Any

import pytest

from shared.app import create_app
from shared.settings import load_settings
from tests.conftest import MakeClient
from tests.infra.bicep_functions import GROUP
from tests.infra.deployed import PROJECT, THEIRS, expand, of_type, only, parameters


def test_no_log_grows_with_each_write_and_no_metric_is_kept_twice() -> None:
    settings = of_type(expand(**parameters("prod"))[1], "Microsoft.Insights/diagnosticSettings")
    categories = {log["category"] for body in settings for log in body["properties"]["logs"]}
    assert categories == {"StorageDelete", "AuditEvent", "Audit", "FunctionAppLogs"}
    assert [body for body in settings if "metrics" in body["properties"]] == []


def test_host_logs_can_be_left_out() -> None:
    def categories(**given: Any) -> list[str]:
        bodies = of_type(expand(**given)[1], "Microsoft.Insights/diagnosticSettings")
        return [log["category"] for body in bodies for log in body["properties"]["logs"]]

    assert "FunctionAppLogs" in categories()
    assert "FunctionAppLogs" not in categories(hostLogs=False)


def test_workspace_that_exists_is_used_and_alerts_are_in_its_region() -> None:
    workspace = {
        "id": f"{THEIRS}/Microsoft.OperationalInsights/workspaces/all",
        "location": "westeurope",
    }
    _, resources = expand(existingWorkspace=workspace)
    assert of_type(resources, "Microsoft.OperationalInsights/workspaces") == []
    insights = only(resources, "Microsoft.Insights/components")["properties"]
    assert insights["WorkspaceResourceId"] == workspace["id"]
    for rule in of_type(resources, "Microsoft.Insights/scheduledQueryRules"):
        assert rule["location"] == "westeurope"
        assert rule["properties"]["scopes"] == [workspace["id"]]


def test_alerts_are_in_the_region_of_the_own_workspace() -> None:
    _, resources = expand(location="westus3")
    regions = {
        body["location"]
        for kind in ("OperationalInsights/workspaces", "Insights/scheduledQueryRules")
        for body in of_type(resources, f"Microsoft.{kind}")
    }
    assert regions == {"westus3"}


def rules(**given: Any) -> dict[str, Any]:
    bodies = of_type(expand(**given)[1], "Microsoft.Insights/scheduledQueryRules")
    return {body["name"].split("-", 2)[2]: body["properties"] for body in bodies}


def query(rule: dict[str, Any]) -> str:
    (criterion,) = rule["criteria"]["allOf"]
    return str(criterion["query"])


def test_rules_see_only_the_requests_of_this_app() -> None:
    for name, rule in rules().items():
        text = query(rule)
        tables = re.findall(r"\b(AppRequests|AppTraces)\b(.*)", text)
        assert len(tables) == 2, name
        assert all("where _ResourceId =~ " in rest for _, rest in tables), name


def test_failures_inside_a_200_raise_the_alert_of_their_outcome() -> None:
    found = rules()
    assert 'Status < 400 and Outcome == "error"' in query(found["failures"])
    assert 'Status < 400 and Outcome == "provider_error"' in query(found["provider-errors"])
    assert "Status < 400 and Throttled" in query(found["throttling"])


async def test_rules_read_the_line_that_the_app_logs_about_a_stream_that_fails(
    make_client: MakeClient,
    environment: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    unused_port: int,
) -> None:
    caplog.set_level(logging.INFO, "shared")
    environment |= {"OPENAI_BASE_URL": f"http://127.0.0.1:{unused_port}/v1"}
    chat = {"message": "hi", "stream": True}
    assert (await make_client(environment).post("/chat", json=chat)).status_code == 200

    text = query(rules()["provider-errors"])
    (start,) = re.findall(r'Message startswith "(.+?)"', text)
    (offset,) = re.findall(r"parse_json\(substring\(Message, (\d+)\)\)", text)
    (message,) = (each for each in caplog.messages if each.startswith(start))
    line = json.loads(message[int(offset) :])
    assert {name: line[name] for name in re.findall(r"\(Line\.(\w+)\)", text)} == {
        "status": 200,
        "outcome": "provider_error",
        "code": "provider_unavailable",
    }


@pytest.mark.parametrize("environment_name", ["dev", "prod"])
def test_timer_that_does_not_run_for_an_hour_raises_an_alert(environment_name: str) -> None:
    rule = rules(**parameters(environment_name))["heartbeat"]
    assert rule["windowSize"] == "PT1H"
    assert "overrideQueryTimeRange" not in rule
    assert query(rule).splitlines()[-1] == (
        'union (Own | where OperationName == "housekeeping"), '
        '(Traces | where Message startswith "housekeeping {") '
        "| summarize Runs = count() | project Value = iff(Runs == 0, 1, 0)"
    )


def test_timer_that_fails_raises_an_alert() -> None:
    text = query(rules()["housekeeping"])
    assert 'OperationName == "housekeeping" and Success == false' in text


async def test_heartbeat_rule_knows_the_timer_s_name_and_the_line_of_a_run(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "shared")
    app = create_app(load_settings(environment))
    async with app.router.lifespan_context(app):
        await app.state.housekeeping.run()
    text = query(rules()["heartbeat"])
    (start,) = re.findall(r'Traces \| where Message startswith "(housekeeping .+?)"', text)
    assert [message for message in caplog.messages if message.startswith(start)] != []
    (name,) = re.findall(r'Own \| where OperationName == "(\w+)"', text)
    assert (
        f"async def {name}(timer: func.TimerRequest)" in (PROJECT / "function_app.py").read_text()
    )


def test_neither_the_timer_nor_the_availability_test_is_a_caller() -> None:
    assert 'OperationName !in ("housekeeping", "health")' in query(rules()["latency"])


def test_no_sampling_drops_a_line_that_tells_who_used_what() -> None:
    settings = json.loads((PROJECT / "host.json").read_text())["logging"]["applicationInsights"]
    excluded = settings["samplingSettings"]["excludedTypes"].split(";")
    assert excluded == ["Request", "Trace"]


def test_rules_that_need_no_minutes_run_hourly() -> None:
    """A rule every five minutes costs three times as much."""
    often = [name for name, rule in rules().items() if rule["evaluationFrequency"] == "PT5M"]
    assert often == ["failures", "latency", "throttling", "provider-errors"]


@pytest.mark.parametrize("emails", [[], ["a@example.com"]])
def test_resource_health_raises_an_alert_for_the_whole_group(emails: list[str]) -> None:
    _, resources = expand(alertEmails=emails)
    alert = only(resources, "Microsoft.Insights/activityLogAlerts")["properties"]
    assert alert["scopes"] == [GROUP]
    assert len(alert["actions"]["actionGroups"]) == len(emails)


def test_prod_is_called_from_three_places_and_dev_from_none() -> None:
    assert of_type(expand(**parameters("dev"))[1], "Microsoft.Insights/webtests") == []
    _, resources = expand(**parameters("prod", ALERT_EMAILS='["a@example.com"]'))
    test = only(resources, "Microsoft.Insights/webtests")["properties"]
    assert len({place["Id"] for place in test["Locations"]}) == 3
    assert test["Request"]["RequestUrl"].endswith("/health")
    alert = only(resources, "Microsoft.Insights/metricAlerts")["properties"]
    assert alert["criteria"]["failedLocationCount"] == 2
    assert len(alert["actions"]) == 1


def test_host_logs_results_and_what_the_app_says_but_no_start_and_end_of_each_function() -> None:
    levels = json.loads((PROJECT / "host.json").read_text())["logging"]["logLevel"]

    def level(category: str) -> str:
        """Returns what Microsoft.Extensions.Logging applies: of the rules that fit the longest."""
        fitting = [
            name for name in levels if re.match(re.escape(name).replace(r"\*", ".*"), category)
        ]
        return str(levels[max(fitting, key=len, default="default")])

    assert level("Function.chat") == level("Host.Aggregator") == "Warning"
    assert level("Function.chat.User") == "Information"
    assert level("Host.Results") == level("Host.Startup") == "Information"
